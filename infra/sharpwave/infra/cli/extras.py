"""Which optional part of the package brings what a command needs.

An agent needs boto3 and pydantic alone, so that is what a bare install has. A command that starts
further processes asks beforehand, or each of them would die in turn of what is missing.
"""

from collections.abc import Sequence
from importlib.util import find_spec

#: The modules of each extra, by the smallest extra that brings them.
MODULES = {
    "async": ("aiobotocore",),
    "dax": ("amazondax",),
    "workers": ("dramatiq", "msgspec", "pydantic_settings"),
    "local": ("rich", "markdown_it", "ruamel"),
    "demo": ("matplotlib",),
    "metrics": ("prometheus_client",),
    "traces": ("opentelemetry",),
    "propose": ("pysubgroup",),
    "parquet": ("duckdb",),
    "cdk": ("aws_cdk", "cdk_nag", "cfnlint", "msgspec"),
}
#: What each extra holds beside its own modules; what agents alone use is not asked for here.
INCLUDED = {
    "local": ("workers",),
    "demo": ("local",),
    "propose": ("workers",),
    "metrics": ("workers",),
    "traces": ("workers",),
    "parquet": ("workers",),
}


def need(extra: str) -> None:
    """Go on only if an extra is installed.

    Raises:
        ExtraMissing: a module of it is not there.
    """
    missing = [name for name in modules_of(extra) if find_spec(name) is None]
    if missing:
        raise _missing(missing, extra)


def modules_of(extra: str) -> tuple[str, ...]:
    """List the modules that an extra brings, with those of the extras it includes."""
    included = (name for each in INCLUDED.get(extra, ()) for name in modules_of(each))
    return (*MODULES[extra], *included)


def explained(error: ModuleNotFoundError) -> Exception:
    """Give the error that names the extra, or the same one if no extra brings the module."""
    name = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in MODULES.items() if name in modules), None)
    return error if extra is None else _missing([name], extra)


def _missing(modules: Sequence[str], extra: str) -> Exception:
    from sharpwave.producers.errors import ExtraMissing

    return ExtraMissing(f"what this command needs ({', '.join(modules)})", extra)
