"""From rows to claims, each with theory's value, the measured one, an interval and a verdict. Pure. The rules: docs/decisions/0023."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from dualadam.studies.escape_networks import logistic
from dualadam.studies.escape_networks.lives import BETAS
from dualadam.studies.escape_networks.study import RULES, Row, Settings

Floats = NDArray[np.float64]
POWERS = {rule.name: -rule.local_exponent(1.0) for rule in RULES}  # of the exponent in H, by theory
NUM_BOOTSTRAPS = 300
MIN_ESCAPES, MIN_EXPONENT = 2, 0.5  # of a minimum whose own exponent is used
RATIO_BAND = (0.8, 1.25)


@dataclass(frozen=True)
class Claim:
    """One line of a table: what theory says, what was measured, the 95 % interval over minima, and the verdict."""

    table: str
    label: str
    theory: float
    value: float
    low: float
    high: float
    verdict: str
    note: str = ""

    @property
    def shown(self) -> tuple[str, str]:
        """The value and its interval as text, or that too few minima had escapes for one."""
        if not math.isfinite(self.value):
            return "-", "too few escapes"
        return f"{self.value:.2f}", f"[{self.low:.2f}, {self.high:.2f}]"

    def as_json(self) -> dict[str, Any]:
        """The claim as strict JSON has it, null for a number that is none."""
        return {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in asdict(self).items()
        }


@dataclass(frozen=True)
class Lives:
    """All lives of one optimizer at one temperature, by minimum.

    Attributes:
        optimizer, target, lr: whose.
        curvature, log_prefactor: (num_minima,) H, and ln of Kramers' prefactor.
        home, left: (num_minima, num_walkers) last step at home and first elsewhere; inf where it never left.
    """

    optimizer: str
    target: float
    lr: float
    curvature: Floats
    log_prefactor: Floats
    home: Floats
    left: Floats

    @property
    def num_escapes(self) -> NDArray[np.int64]:
        """Escapes from every minimum."""
        return np.isfinite(self.left).sum(1)

    @property
    def log_times(self) -> Floats:
        """Ln tau of every minimum, by exponential lives censored in intervals; inf where no walker left."""
        return np.array([_log_time(a, b) for a, b in zip(self.home, self.left, strict=True)])

    @property
    def log_exponents(self) -> Floats:
        """Ln E of every minimum, E = ln tau - ln A; nan by the rule on few escapes and small exponents."""
        e = self.log_times - self.log_prefactor
        usable = (self.num_escapes >= MIN_ESCAPES) & (e > MIN_EXPONENT)
        return np.log(np.where(usable, e, np.nan))


def minima_of(rows: dict[str, Row]) -> list[Row]:
    """Return the minima, the flattest first, whatever the order in which they were done: a bootstrap draws by place."""
    return sorted(
        (r for key, r in rows.items() if key.startswith("minimum/")), key=lambda r: r["H"]
    )


def regressions_of(rows: dict[str, Row]) -> list[Row]:
    """Return the regressions that are done, in the order of ``logistic.CASES``."""
    return [rows[key] for name, *_ in logistic.CASES if (key := f"logistic/{name}") in rows]


def lives(rows: dict[str, Row], settings: Settings) -> list[Lives]:
    """Collect the lives, temperature by temperature; an optimizer whose minima are not all done is left out."""
    minima = minima_of(rows)
    found = []
    for target in settings.temperatures:
        for rule in RULES:
            mine = [
                row for m in minima if (row := rows.get(f"{m['number']}/{rule.name}/{target:g}"))
            ]
            if len(mine) < len(minima):
                continue
            lr = mine[0]["lr"]
            rate = np.array([lr * m["p"][rule.name] * m["H"] for m in minima])
            log_prefactor = np.log(np.pi * (np.sqrt(1 + 4 * rate / (1 - BETAS[0])) + 1) / rate)
            home, left = (
                np.array([r["last_home"] for r in mine], float),
                np.array([r["left"] for r in mine], float),
            )  # None becomes nan
            left[np.isnan(left)] = np.inf
            found.append(
                Lives(
                    rule.name,
                    target,
                    lr,
                    np.array([m["H"] for m in minima]),
                    log_prefactor,
                    home,
                    left,
                )
            )
    return found


def _log_time(home: Floats, left: Floats) -> float:
    if not np.isfinite(left).any():
        return math.inf

    def loss(log_time: float) -> float:
        return -_log_likelihood(home, left, np.full(len(home), log_time), 1.0).sum()

    return float(minimize_scalar(loss, bounds=(0.0, 20.0), method="bounded").x)


def _log_likelihood(home: Floats, left: Floats, location: Floats, shape: float) -> Floats:
    """Weibull lives known to end in (home, left]: ln [S(home) - S(left)], S(t) = exp(-(t / e^location)^shape)."""
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        a = np.where(home > 0, np.exp(np.minimum(shape * (np.log(home) - location), 600)), 0.0)
        b = np.where(
            np.isfinite(left), np.exp(np.minimum(shape * (np.log(left) - location), 600)), np.inf
        )
        return -a + np.log(np.maximum(-np.expm1(a - b), 1e-300))


def fit(data: Lives, weights: Floats, exponent: bool, start: Floats | None = None) -> Floats:
    """Return the slope s, the level (ln tau, or ln E, at H0) and the logarithm of the Weibull shape, by maximum likelihood.

    Args:
        weights: (num_minima,) how often each minimum counts: ones, or a bootstrap's.
        exponent: ln tau = ln A_i + E (H / H0)^s instead of ln tau = a + s ln H / H0; H0 is the median H.
        start: a fit of other weights to start from.
    """
    x = np.log(data.curvature / np.median(data.curvature))

    def loss(parameters: Floats) -> float:
        s, level, log_shape = parameters
        location = (
            data.log_prefactor + np.exp(np.minimum(level + s * x, 5)) if exponent else level + s * x
        )
        terms = _log_likelihood(
            data.home,
            data.left,
            np.broadcast_to(location[:, None], data.home.shape),
            math.exp(min(log_shape, 3)),
        )
        return -float(weights @ terms.sum(1)) / float(weights.sum()) + 1e-6 * s * s

    level = math.log(2.0) if exponent else 7.0
    starts = [np.array([s, level, -0.3]) for s in (0.0, -1.5, 1.5)] if start is None else [start]
    return min(
        (minimize(loss, x0, method="BFGS", options={"gtol": 1e-4}) for x0 in starts),
        key=lambda r: r.fun,
    ).x


def _bootstrap(
    statistic: Callable[[Floats], float], num_minima: int, seed: int
) -> tuple[float, float, float]:
    """Return a statistic of weights over the minima, and its 95 % percentile interval."""
    rng = np.random.default_rng(seed)
    value = statistic(np.ones(num_minima))
    draws = [
        statistic(rng.multinomial(num_minima, np.ones(num_minima) / num_minima).astype(float))
        for _ in range(NUM_BOOTSTRAPS)
    ]
    finite = [d for d in draws if math.isfinite(d)]
    if not math.isfinite(value) or len(finite) < NUM_BOOTSTRAPS // 2:
        return math.nan, math.nan, math.nan
    low, high = np.quantile(finite, [0.025, 0.975])
    return value, float(low), float(high)


def verdict(theory: float, low: float, high: float) -> str:
    """Decide a slope: "held" where theory is inside the interval and 0 is not, "not held" where theory is outside.

    Example:
        >>> verdict(-1.0, -1.4, -0.5), verdict(-1.0, -0.6, 0.2), verdict(-1.0, -2.0, 0.3)
        ('held', 'not held', 'not decided')
    """
    if not math.isfinite(low):
        return "not decided"
    if not low <= theory <= high:
        return "not held"
    return "not decided" if low <= 0 <= high else "held"


def _slope(x: Floats, y: Floats, weights: Floats) -> float:
    """Weighted least squares over the pairs that are there; nan with fewer than four different minima."""
    there = np.isfinite(y) & (weights > 0)
    if there.sum() < 4:
        return math.nan
    w, x, y = weights[there] / weights[there].sum(), x[there], y[there]
    x = x - w @ x
    return float((w * x) @ y / ((w * x) @ x))


def claims(rows: dict[str, Row], settings: Settings) -> list[Claim]:
    """Return every claim."""
    groups = lives(rows, settings)
    return [*_noise(rows), *_slopes(groups), *_differences(groups), *_against_lr(groups, settings)]


def _slopes(groups: Sequence[Lives]) -> list[Claim]:
    made = []
    for exponent, table in (
        (True, "slope of the exponent against H"),
        (False, "slope of ln tau against ln H"),
    ):
        for g in groups:
            ones = np.ones(len(g.curvature))
            best, e = fit(g, ones, exponent), math.exp(fit(g, ones, True)[1])
            value, low, high = _bootstrap(
                lambda w: float(fit(g, w, exponent, best)[0]), len(ones), seed=1
            )
            theory = POWERS[g.optimizer] * (
                1 if exponent else e
            )  # d ln tau = E d ln E, but for the prefactor
            level = f"E {e:.2f}" if exponent else f"ln tau {best[1]:.2f}"
            note = f"{level} at the median H, Weibull shape {math.exp(best[2]):.2f}, {g.num_escapes.sum()} of {g.left.size} left"
            made.append(
                Claim(
                    table,
                    f"{g.optimizer}, T = {g.target:g}",
                    theory,
                    value,
                    low,
                    high,
                    verdict(theory, low, high),
                    note,
                )
            )
    return made


def _differences(groups: Sequence[Lives]) -> list[Claim]:
    made = []
    for one, other in (("Adam", "SGD"), ("InvAdam", "SGD"), ("InvAdam", "Adam")):
        for target in dict.fromkeys(g.target for g in groups):
            pair = [
                g
                for name in (one, other)
                for g in groups
                if (g.optimizer, g.target) == (name, target)
            ]
            if len(pair) < 2:
                continue
            first, second = pair
            y, x = first.log_exponents - second.log_exponents, np.log(first.curvature)
            value, low, high = _bootstrap(lambda w: _slope(x, y, w), len(x), seed=2)  # noqa: B023
            theory = POWERS[one] - POWERS[other]
            note = f"{np.isfinite(y).sum()} minima; the barrier cancels"
            label = f"{one} - {other}, T = {target:g}"
            made.append(
                Claim(
                    "difference of exponents' slopes",
                    label,
                    theory,
                    value,
                    low,
                    high,
                    verdict(theory, low, high),
                    note,
                )
            )
    return made


def _against_lr(groups: Sequence[Lives], settings: Settings) -> list[Claim]:
    cold, hot = min(settings.temperatures), max(settings.temperatures)
    made = []
    for rule in RULES:
        pair = [g for t in (hot, cold) for g in groups if (g.optimizer, g.target) == (rule.name, t)]
        if len(pair) < 2 or hot == cold:
            continue
        first, second = pair
        y = (first.log_exponents - second.log_exponents) / math.log(first.lr / second.lr)
        there = np.isfinite(y)

        def mean(w: Floats, y: Floats = y, there: NDArray[np.bool_] = there) -> float:
            return float(w[there] @ y[there] / w[there].sum()) if w[there].sum() else math.nan

        value, low, high = _bootstrap(mean, len(y), seed=3)
        note = f"{there.sum()} minima, each against itself"
        made.append(
            Claim(
                "slope of the exponent against lr",
                rule.name,
                -1.0,
                value,
                low,
                high,
                verdict(-1.0, low, high),
                note,
            )
        )
    return made


def _noise(rows: dict[str, Row]) -> list[Claim]:
    """Whether C = H / B."""
    minima = minima_of(rows)
    made, table = [], "is C = H / B?"

    def add(label: str, theory: float, interval: Sequence[float], note: str, ratio: bool) -> None:
        value, low, high = interval
        inside = low >= RATIO_BAND[0] and high <= RATIO_BAND[1]
        outside = high < RATIO_BAND[0] or low > RATIO_BAND[1]
        kind = (
            ("held" if inside else "not held" if outside else "not decided")
            if ratio
            else verdict(theory, low, high)
        )
        made.append(Claim(table, label, theory, value, low, high, kind, note))

    def median(values: Floats) -> tuple[float, float, float]:
        return _bootstrap(
            lambda w: float(np.median(np.repeat(values, w.astype(int), axis=0))),
            len(values),
            seed=4,
        )

    gamma = np.array([m["diagonal"]["gamma"] for m in minima])
    r = np.median([m["diagonal"]["r"] for m in minima])
    note = f"median of {len(minima)}; {gamma.min():.2f} to {gamma.max():.2f}, r {r:.2f}"
    add("network: slope of ln C_ii against ln H_ii", 1.0, median(gamma), note, False)
    for label, values in (
        (
            "network: B c / H along the top eigenvector",
            np.array([m["BC_over_H"][0] for m in minima]),
        ),
        (
            "network: B c / H along ten top eigenvectors",
            np.array([np.median(m["BC_over_H"]) for m in minima]),
        ),
        ("network: B C_ii / H_ii", np.array([m["diagonal"]["ratio"] for m in minima])),
    ):
        add(
            label,
            1.0,
            median(values),
            f"median of {len(minima)}; {values.min():.2f} to {values.max():.2f}",
            True,
        )
    h, c = (np.log([m[key] for m in minima]) for key in ("H", "c"))
    slope = _bootstrap(lambda w: _slope(h, c, w), len(h), seed=5)
    add(
        "network: slope of ln c against ln H from minimum to minimum",
        1.0,
        slope,
        "along the top eigenvector",
        False,
    )
    for row in regressions_of(rows):
        for key, what in (
            ("gamma", "slope of ln C_ii against ln H_ii"),
            ("top_ratio", "B c / H along ten top eigenvectors"),
        ):
            if key in row["intervals"]:
                add(
                    f"{row['name']}: {what}",
                    1.0,
                    (row[key], *row["intervals"][key]),
                    "bootstrap over examples",
                    key == "top_ratio",
                )
    return made


def facts(rows: dict[str, Row], settings: Settings) -> dict[str, Any]:
    """Return what a reader must know beside the claims."""
    minima = minima_of(rows)
    groups = lives(rows, settings)
    complete = {(g.optimizer, g.target) for g in groups}
    units = [
        r for r in rows.values() if "last_home" in r and (r["optimizer"], r["target"]) in complete
    ]
    h = np.array([m["H"] for m in minima])
    starts = [r for key, r in rows.items() if key.startswith("start/")]
    steps = {
        f"{g.optimizer}, T = {g.target:g}": float(
            g.lr * max(m["p"][g.optimizer] * m["H"] for m in minima)
        )
        for g in groups
    }
    ratios = {
        rule.name: float(
            np.median([m["equipartition"][rule.name] / m["temperature"][rule.name] for m in minima])
        )
        for rule in RULES
    }
    return {
        "starts": len(starts),
        "starts_that_converged": sum(r["converged"] for r in starts),
        "largest_eigenvalue_H": [float(h.min()), float(h.max())],
        "smallest_eigenvalue": float(min(m["smallest_eigenvalue"] for m in minima)),
        "correlation_of_ln_H_and_loss": float(
            np.corrcoef(np.log(h), [m["loss"] for m in minima])[0, 1]
        ),
        "stationary_H_Var_over_T": ratios,
        "largest_lr_p_H": steps,
        "lives": sum(len(u["left"]) for u in units),
        "escapes": sum(x is not None for u in units for x in u["left"]),
        "diverged": sum(u["diverged"] for u in units),
        "descents": sum(u["descents"] for u in units),
        "undecided_descents": sum(u["undecided"] for u in units),
        "processor_minutes_of_lives": round(sum(u["cpu_seconds"] for u in units) / 60, 1),
    }
