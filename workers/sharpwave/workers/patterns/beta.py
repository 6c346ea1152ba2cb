"""The Beta distribution in plain floats, to 1e-10, without a numerical library."""

import math
from dataclasses import dataclass

_HALF_LOG_TAU = 0.5 * math.log(math.tau)
_TINY = 1e-300
_BELOW_ONE = math.nextafter(1.0, 0.0)
_CONVERGED = 1e-15
_SETTLED = 1e-13
_MAX_TERMS = 1_000_000


@dataclass(frozen=True, slots=True)
class Beta:
    """A Beta distribution over a success rate.

    Raises:
        ValueError: a shape is not a finite number above 0.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (0 < self.a < math.inf and 0 < self.b < math.inf):
            raise ValueError(f"Beta({self.a}, {self.b}) needs finite shapes above 0")

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.a / (self.a + self.b)

    def cdf(self, x: float) -> float:
        """Give P(rate <= x)."""
        return self._tails(x)[0]

    def sf(self, x: float) -> float:
        """Give P(rate > x), accurate even where it is tiny."""
        return self._tails(x)[1]

    def ppf(self, q: float) -> float:
        """Give the rate below which a share `q` of the distribution lies.

        Raises:
            ValueError: `q` is outside 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is asked for a share in 0 to 1, not {q}")
        if q in (0.0, 1.0):
            return q
        return self._solve(q)

    def log_kernel(self, x: float) -> float:
        """Give log(x^a (1-x)^b / B(a, b)), for 0 < x < 1."""
        a, b, mean = self.a, self.b, self.mean
        scale = 0.5 * (math.log(a) + math.log(b) - math.log(a + b)) - _HALF_LOG_TAU
        correction = _stirling_error(a + b) - _stirling_error(a) - _stirling_error(b)
        # Differences of large lgammas would lose the digits that the ratios to the mean keep.
        successes = a * _log_ratio(x, mean, x - mean)
        failures = b * _log_ratio(1 - x, (1 - mean) or b / (a + b), mean - x)
        return successes + failures + scale + correction

    def _tails(self, x: float) -> tuple[float, float]:
        if x <= 0:
            return 0.0, 1.0
        if x >= 1:
            return 1.0, 0.0
        kernel = math.exp(self.log_kernel(x))
        if x < (self.a + 1) / (self.a + self.b + 2):
            lower = kernel * _continued_fraction(self.a, self.b, x) / self.a
            return lower, 1 - lower
        upper = kernel * _continued_fraction(self.b, self.a, 1 - x) / self.b
        return 1 - upper, upper

    def _solve(self, q: float) -> float:
        """Newton's method, kept in a shrinking bracket by bisecting the exponent."""
        low, high, x = _TINY, 1.0, min(self.mean, _BELOW_ONE)
        for _ in range(200):
            error = self.cdf(x) - q
            low, high = (low, x) if error > 0 else (x, high)
            kernel = math.exp(self.log_kernel(x))
            following = x - error * x * (1 - x) / kernel if kernel else -1.0
            if abs(following - x) <= _SETTLED * x:
                return min(following, 1.0)
            middle = min(math.sqrt(low) * math.sqrt(high), _BELOW_ONE)
            x = following if low < following < high else middle
        return x


def _log_ratio(x: float, reference: float, difference: float) -> float:
    relative = difference / reference
    return math.log1p(relative) if abs(relative) < 0.5 else math.log(x / reference)


def _stirling_error(z: float) -> float:
    """Give lgamma(z) less Stirling's approximation of it."""
    if z < 10:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + _HALF_LOG_TAU)
    inverse = 1 / (z * z)
    series = 1 / 1680 - inverse / 1188
    for term in (1 / 1260, 1 / 360, 1 / 12):
        series = term - inverse * series
    return series / z


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Evaluate the incomplete beta's continued fraction by Lentz's method.

    Takes about sqrt(max(a, b)) terms for x < (a + 1) / (a + b + 2).
    """
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even, odd):
            d = 1 / _nonzero(1 + coefficient * d)
            c = _nonzero(1 + coefficient / c)
            value *= c * d
        if abs(c * d - 1) < _CONVERGED:
            return value
    raise ArithmeticError(f"Beta({a}, {b}) did not converge at {x}; its counts are beyond reason")


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
