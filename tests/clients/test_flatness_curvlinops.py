"""The measures of flatness agree with curvlinops, an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flatness_cases import CASES
from torch import nn

from dualadam.flatness import hessian_operator, top_eigenvalues, trace

pytestmark = [
    pytest.mark.integration,
    # torch warns of itself at its first forward-mode derivative
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]


@pytest.fixture(params=["mlp", "conv, batchnorm, dropout", "two layers of three"])
def ours_and_theirs(request):
    curvlinops = pytest.importorskip("curvlinops", reason="make test-integrations installs it")
    ours, model, _ = CASES[request.param].make()
    model.eval()
    batches = [(batch["x"], batch["y"]) for batch in ours.batches]
    return ours, curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), ours.params, batches
    )


def test_products_equal_those_of_curvlinops(ours_and_theirs):
    ours, theirs = ours_and_theirs
    identity = torch.eye(ours.num_params, dtype=torch.float64)
    np.testing.assert_allclose(
        hessian_operator(ours) @ identity.numpy(), (theirs @ identity).detach(), rtol=0, atol=1e-12
    )


def test_eigenvalues_equal_those_that_scipy_finds_with_curvlinops_products(ours_and_theirs):
    from scipy.sparse.linalg import eigsh

    ours, theirs = ours_and_theirs
    expected = eigsh(
        theirs.to_scipy(), 3, which="LA", return_eigenvectors=False, v0=np.ones(ours.num_params)
    )
    np.testing.assert_allclose(
        top_eigenvalues(ours, k=3, tol=1e-10).values, np.sort(expected)[::-1], rtol=1e-9
    )


def test_the_trace_agrees_within_the_standard_errors(ours_and_theirs):
    import curvlinops

    ours, theirs = ours_and_theirs
    torch.manual_seed(0)  # curvlinops takes no generator
    estimate = trace(ours, rtol=0, max_samples=200)
    their_value = curvlinops.hutchinson_trace(theirs, num_matvecs=ours.num_params - 1).item()
    exact = (theirs @ torch.eye(ours.num_params, dtype=torch.float64)).trace().item()
    # both are seeded; a wrong factor would be many standard errors away
    assert abs(estimate.value - exact) < 4 * estimate.standard_error
    assert abs(estimate.value - their_value) < 4 * estimate.standard_error * (
        1 + (200 / (ours.num_params - 1)) ** 0.5
    )
