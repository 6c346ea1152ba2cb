"""A template with its parameters filled in: what CloudFormation would make of it.

Only what these templates use is understood; anything else is an error, never a guess.
"""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from sharpwave.infra.aws.names import Names

Template = dict[str, Any]
_VARIABLE = re.compile(r"\$\{([^!}][^}]*)\}")


class NotUnderstood(ValueError):
    """A template or a policy says something that is not understood here."""


def shipped(profile: str, stack: str) -> Template:
    """Read a template that comes with the package."""
    path = files("sharpwave.infra.aws") / "templates" / profile / f"{stack}.json"
    return dict(json.loads(path.read_text()))


def read(path: Path) -> Template:
    """Read a template from a file.

    Raises:
        NotUnderstood: it is none.
    """
    try:
        found = json.loads(path.read_text())
        _ = found["Resources"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotUnderstood(
            f"{path} is no template ({error!r:.80}); write one with `sharpwave synth`"
        ) from error
    return dict(found)


def resources(template: Template, names: Names, **parameters: str) -> dict[str, dict[str, Any]]:
    """Give the resources of a template, each with the properties that it would get.

    What only AWS can say, such as a stream's ARN, stands as `<Logical.Attribute>`.

    Args:
        template: the template.
        names: where it is deployed; the prefix is told by `parameters`.
        parameters: values of its parameters; the others have their defaults.

    Raises:
        NotUnderstood: a parameter has no value, or there is a function that is not known here.
    """
    return _Resolver(template, names, parameters).resources()


class _Resolver:
    def __init__(self, template: Template, names: Names, parameters: Mapping[str, str]) -> None:
        self._resources = template["Resources"]
        self._conditions = template.get("Conditions", {})
        self._names = names
        declared = template.get("Parameters", {})
        if unknown := sorted(parameters.keys() - declared.keys()):
            raise NotUnderstood(f"the template has no parameter {unknown[0]!r}")
        known = {name: each["Default"] for name, each in declared.items() if "Default" in each}
        self._values = {
            **{"AWS::Partition": names.partition, "AWS::Region": names.region},
            **{"AWS::AccountId": names.account, "AWS::URLSuffix": "amazonaws.com"},
            **known,
            **parameters,
        }
        self._declared = declared

    def resources(self) -> dict[str, dict[str, Any]]:
        return {
            logical: {
                **{name: value for name, value in body.items() if name != "Properties"},
                "Properties": self._value(body.get("Properties", {})),
            }
            for logical, body in self._resources.items()
            if "Condition" not in body or self._holds(body["Condition"])
        }

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(each) for each in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, given)] = value.items()
            if function == "Ref":
                return self._ref(given)
            if function.startswith("Fn::"):
                return self._call(function.removeprefix("Fn::"), given)
        return {name: self._value(each) for name, each in value.items()}

    def _call(self, function: str, given: Any) -> Any:
        match function:
            case "If":
                name, then, otherwise = given
                return self._value(then if self._holds(name) else otherwise)
            case "Join":
                mark, parts = given
                return str(mark).join(map(str, self._value(parts)))
            case "Sub" if isinstance(given, str):
                return _VARIABLE.sub(lambda found: str(self._ref(found[1])), given)
            case "GetAtt":
                logical, attribute = given if isinstance(given, list) else given.split(".", 1)
                return self._attribute(logical, attribute)
            case "ImportValue":
                return f"<{self._value(given)}>"
            case "Select" | "GetAZs" | "Cidr" | "Split":
                return f"<{function} {self._value(given)}>"
        raise NotUnderstood(f"Fn::{function} is not understood here")

    def _holds(self, condition: Any) -> bool:
        if isinstance(condition, str):
            if condition not in self._conditions:
                raise NotUnderstood(f"the template has no condition {condition!r}")
            return self._holds(self._conditions[condition])
        [(function, given)] = condition.items()
        match function:
            case "Fn::Not":
                return not self._holds(given[0])
            case "Fn::Equals":
                one, other = self._value(given)
                return bool(one == other)
        raise NotUnderstood(f"{function} is not understood here as a condition")

    def _ref(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._declared:
            raise NotUnderstood(f"the parameter {name!r} has no value")
        if name not in self._resources:
            raise NotUnderstood(f"{name!r} is neither a parameter nor a resource")
        return f"<{name}>"

    def _attribute(self, logical: str, attribute: str) -> str:
        """Give an attribute; ARNs of what is named here, and of nothing else, can be known."""
        body = self._resources[logical]
        properties, kind = body.get("Properties", {}), body["Type"]
        if attribute == "Arn" and kind == "AWS::SQS::Queue" and "QueueName" in properties:
            return self._names.arn("sqs", self._value(properties["QueueName"]))
        if attribute == "Arn" and kind == "AWS::DynamoDB::Table" and "TableName" in properties:
            return self._names.arn("dynamodb", f"table/{self._value(properties['TableName'])}")
        if attribute == "Arn" and kind == "AWS::S3::Bucket":
            return f"arn:{self._names.partition}:s3:::<{logical}>"
        return f"<{logical}.{attribute}>"
