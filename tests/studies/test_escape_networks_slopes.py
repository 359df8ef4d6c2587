"""The slopes that are fitted to escape times, on samples whose slopes are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_networks import claims
from dualadam.studies.escape_networks.against_curvature import curvature_claims
from dualadam.studies.escape_networks.claims import Claim, Estimate, Table
from dualadam.studies.escape_networks.escapes import check_steps
from dualadam.studies.escape_networks.paired_slopes import paired_claims
from dualadam.studies.escape_networks.samples import EscapeSample, fit_times
from dualadam.studies.escape_networks.settings import Settings

ONE_TEMPERATURE = Settings(temperatures=(0.01,))
THEORY = {"SGD": -1.0, "Adam": -0.5, "InvAdam": -1.5}


def synthetic(slopes, num_minima=40, seed=0):
    """Return samples with these slopes of the exponent; the barriers differ between minima."""
    rng = np.random.default_rng(seed)
    h, barrier = np.geomspace(0.3, 0.9, num_minima), np.exp(0.1 * rng.standard_normal(num_minima))
    checks = np.array([0, *check_steps(5120)])
    samples = []
    for optimizer, slope in slopes.items():
        log_prefactor = math.log(60.0) - np.log(h)
        mean = np.exp(log_prefactor + 3.5 * barrier * (h / np.median(h)) ** slope)
        at = np.searchsorted(checks, rng.exponential(mean[:, None], (num_minima, 10)))
        elsewhere = np.append(checks, np.inf)[at].astype(float)
        home = checks[at - 1].astype(float)
        samples.append(EscapeSample(optimizer, 0.01, 1.0, h, log_prefactor, home, elsewhere))
    return samples


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(claims, "NUM_BOOTSTRAPS", 40)


@pytest.mark.usefixtures("few_resamples")
def test_known_slopes_are_found_within_their_intervals():
    samples = synthetic(THEORY)
    assert any(np.isinf(sample.first_elsewhere).any() for sample in samples)  # some are censored
    made = curvature_claims(samples)
    for claim in (c for c in made if c.table == Table.EXPONENT_AGAINST_CURVATURE):
        assert claim.verdict == Verdict.HELD, claim
        assert claim.low < claim.value < claim.high
    for claim in paired_claims(samples, ONE_TEMPERATURE):
        assert claim.low < claim.theory < claim.high, claim


@pytest.mark.usefixtures("few_resamples")
def test_differences_of_swapped_slopes_are_not_held():
    swapped = synthetic({"SGD": -1.0, "Adam": -1.5, "InvAdam": -0.5})
    verdicts = {claim.verdict for claim in paired_claims(swapped, ONE_TEMPERATURE)}
    assert verdicts == {Verdict.NOT_HELD}


def test_a_minimum_without_escapes_counts_as_a_long_time_and_has_no_exponent_of_its_own():
    sample = synthetic({"SGD": -1.0}, num_minima=6, seed=1)[0]
    elsewhere = sample.first_elsewhere.copy()
    elsewhere[0] = np.inf
    home = np.where(np.isinf(elsewhere), 5120.0, sample.last_home)
    censored = replace(sample, first_elsewhere=elsewhere, last_home=home)
    assert math.isinf(censored.log_times[0])
    assert math.isnan(censored.log_exponents[0])
    # the flattest minimum now lasts longer
    assert fit_times(censored, np.ones(6)).slope < fit_times(sample, np.ones(6)).slope


def test_a_claim_without_a_value_is_null_in_json_and_not_decided():
    missing = Estimate(math.nan, math.nan, math.nan)
    claim = Claim.of_slope(Table.DIFFERENCE, "Adam - SGD", 0.5, missing, "1 minima")
    stored = claim.to_json()
    assert (stored["value"], stored["low"], stored["high"]) == (None, None, None)
    assert claim.verdict == Verdict.NOT_DECIDED
    assert (claim.shown_value, claim.shown_interval) == ("-", "too few minima")
    assert repr(Claim.from_json(stored)) == repr(claim)  # nan is not equal to nan
