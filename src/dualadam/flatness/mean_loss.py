"""The mean loss over a data set as a function of chosen parameters: value, gradient, product."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.flatness.batches import convert, num_rows
from dualadam.flatness.parameters import parameter_names


class MeanLoss:
    r"""The loss of a model over a data set: the argument of every function of this package.

    .. math:: L(w) = \sum_b n_b\, \ell_b(w) / \sum_b n_b

    l_b is what ``loss_fn`` returns for batch b, a mean over its examples, and n_b the number of its
    examples, so an incomplete last batch has its proper weight. A loss that is a mean over
    something else (tokens that are not padding) needs ``num_examples``.

    Every pass runs the model in **evaluation mode** (BatchNorm with its running statistics, no
    dropout) and then restores the mode of each module. Gradients are not written to ``.grad`` and
    ``requires_grad`` stays. Attention runs in torch's plain kernel, since the fused kernels have no
    second derivative. Each pass reads the parameters, so that a model in training is measured at
    its present weights. With ``dtype`` a converted copy is measured, made at construction.

    Args:
        model: any module with real parameters.
        loss_fn: ``loss_fn(model, batch)`` returns a 0-d tensor. It must use its argument ``model``.
        batches: an iterable of batches with the same content in every pass: a list, or a DataLoader
            without random augmentation. A shuffled one is fine if it drops no batch.
        params: which parameters, as names or as the model's own tensors. None takes all that need a
            gradient. The others are constants.
        dtype: None measures in the model's precision. torch.float64 measures a copy of the model,
            and converts the floating-point tensors of the batches. Second derivatives in float32
            are accurate to about 1e-6 of the largest eigenvalue, so small ones need float64.
        num_examples: ``num_examples(batch)`` returns n_b. None takes the first dimension of the
            batch's first tensor.

    Attributes:
        names: names of the chosen parameters, in the order of a flat vector.
        params: the parameters that are measured, those of the copy if there is one.
        own_params: the same parameters of the caller's model, which an optimizer knows.
        num_params: length of a flat vector.
        device, dtype: of a flat vector.

    Raises:
        InvalidTypeError: batches is a one-time iterator, the loss is not a tensor, or a parameter
            is complex or of half precision.
        InvalidValueError: no parameter is chosen, or one is frozen or unknown; there is no batch;
            the loss is not a scalar, not finite, or differs between two evaluations. A loss that
            does not depend on the parameters is found when it is differentiated.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> loss_fn = lambda model, batch: (model(batch[0]) - batch[1]).square().mean()
        >>> x = torch.tensor([[1.0], [2.0], [3.0]])
        >>> loss = MeanLoss(model, loss_fn, [(x[:2], x[:2]), (x[2:], x[2:])])  # unequal batches
        >>> round(loss.hvp(torch.ones(1)).item(), 4)  # d2/dw2 mean (w x - y)^2 = 2 mean x^2
        9.3333
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[[Any, Any], Tensor],
        batches: Iterable[Any],
        *,
        params: Iterable[str | Tensor] | None = None,
        dtype: torch.dtype | None = None,
        num_examples: Callable[[Any], int] | None = None,
    ) -> None:
        if isinstance(batches, Iterator):
            raise InvalidTypeError(
                "batches must be iterable more than once, got an iterator; "
                "pass a list or a DataLoader."
            )
        if dtype not in (None, torch.float32, torch.float64):
            raise InvalidValueError(
                f"dtype must be torch.float32, torch.float64 or None, got {dtype}."
            )
        self.names = parameter_names(model, params, dtype)
        self.model = copy.deepcopy(model).to(dtype) if dtype else model
        self.loss_fn, self.batches, self.num_examples = loss_fn, batches, num_examples or num_rows
        self._convert = functools.partial(convert, dtype=dtype) if dtype else lambda batch: batch
        self.params = [self.model.get_parameter(name) for name in self.names]
        self.own_params = [model.get_parameter(name) for name in self.names]
        self.num_params = sum(p.numel() for p in self.params)
        self.device = self.params[0].device
        self.dtype = functools.reduce(torch.promote_types, (p.dtype for p in self.params))

        first, second = self.value(), self.value()
        if not math.isclose(first, second, rel_tol=100 * torch.finfo(self.dtype).eps):
            raise InvalidValueError(
                f"The loss must be deterministic, got {first!r} and then {second!r} for the same "
                "parameters; remove randomness from loss_fn, and augmentation and sampling from "
                "batches."
            )

    @torch.no_grad()
    def value(self) -> float:
        """Return L(w), summed over the batches in double precision."""
        with self._evaluation():
            terms = [(n, n * loss.item()) for n, loss in self._batch_losses()]
        return sum(term for _, term in terms) / sum(n for n, _ in terms)

    def gradient(self) -> Tensor:
        """Return dL/dw as a flat vector."""
        return self._mean_derivative(self._gradients)

    def hvp(self, vector: Tensor) -> Tensor:
        """Return the Hessian of L times a flat vector; see ``dualadam.flatness.hvp``."""
        if vector.shape != (self.num_params,):
            raise InvalidValueError(
                f"vector must have the shape ({self.num_params},), got {tuple(vector.shape)}."
            )
        parts = [
            part.to(p)
            for part, p in zip(self.split(vector.detach()).values(), self.params, strict=True)
        ]

        def double_backward(loss: Tensor) -> tuple[Tensor, ...]:
            grads = self._gradients(loss, create_graph=True)
            # a gradient that needs none is constant: the loss is linear in that parameter
            curved = [(g, v) for g, v in zip(grads, parts, strict=True) if g.requires_grad]
            if not curved:
                return tuple(map(torch.zeros_like, self.params))
            return torch.autograd.grad(
                [g for g, _ in curved], self.params, [v for _, v in curved], materialize_grads=True
            )

        return self._mean_derivative(double_backward)

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return views of a flat vector in the shape of each parameter, by name."""
        parts = vector.split([p.numel() for p in self.params])
        return {
            name: part.view(p.shape)
            for name, part, p in zip(self.names, parts, self.params, strict=True)
        }

    def by_batch(self) -> Iterator[tuple[Any, MeanLoss]]:
        """Yield every batch with the loss of that batch alone, over the same parameters."""
        for batch in self.batches:
            part = copy.copy(self)
            part.batches = [batch]
            yield batch, part

    @contextmanager
    def moved_by(self, vector: Tensor) -> Iterator[None]:
        """Set the parameters to w + vector within this context, then restore them bit for bit."""
        saved = [p.detach().clone() for p in self.params]
        try:
            with torch.no_grad():
                for p, part in zip(self.params, self.split(vector).values(), strict=True):
                    p.add_(part.to(p))
            yield
        finally:
            with torch.no_grad():
                for p, old in zip(self.params, saved, strict=True):
                    p.copy_(old)

    @torch.enable_grad()
    def _mean_derivative(self, differentiate: Callable[[Tensor], tuple[Tensor, ...]]) -> Tensor:
        """Return the mean of ``differentiate(loss of a batch)`` over the data, as a flat vector."""
        mean = torch.zeros(self.num_params, device=self.device, dtype=self.dtype)
        parts, num_examples = list(self.split(mean).values()), 0
        with self._evaluation():
            for n, loss in self._batch_losses():
                for part, term in zip(parts, differentiate(loss), strict=True):
                    part.add_(term.to(part.device), alpha=n)
                num_examples += n
        mean /= num_examples
        if not mean.isfinite().all():
            raise InvalidValueError(
                "The loss must have finite derivatives, got NaN or infinity; "
                "dtype=torch.float64 helps if they overflow."
            )
        return mean

    def _gradients(self, loss: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
        """Return the gradients of a batch, zeros for a parameter that it does not use."""
        used = loss.requires_grad and torch.autograd.grad(
            loss, self.params, create_graph=create_graph, allow_unused=True
        )
        if not used or all(grad is None for grad in used):
            raise InvalidValueError(
                "The loss must depend on the chosen parameters, got one that does not; "
                "loss_fn must use its argument `model`."
            )
        return tuple(
            torch.zeros_like(p) if grad is None else grad
            for grad, p in zip(used, self.params, strict=True)
        )

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Use evaluation mode and attention with a second derivative, for one pass."""
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            self.model.eval()
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            for module, training in modes:
                module.training = training

    def _batch_losses(self) -> Iterator[tuple[int, Tensor]]:
        """Yield (number of examples, loss) batch by batch, each loss checked."""
        index = -1
        for index, batch in enumerate(map(self._convert, self.batches)):
            loss, num_examples = self.loss_fn(self.model, batch), self.num_examples(batch)
            if not isinstance(loss, Tensor):
                raise InvalidTypeError(f"loss_fn must return a tensor, got {type(loss).__name__}.")
            if loss.ndim != 0:
                raise InvalidValueError(
                    f"loss_fn must return a 0-d tensor, got shape {tuple(loss.shape)}; "
                    "take the mean over the batch."
                )
            if not loss.isfinite():
                raise InvalidValueError(
                    f"The loss must be finite, got {loss.item()} on batch {index}."
                )
            if not num_examples > 0:
                raise InvalidValueError(
                    f"num_examples must be positive, got {num_examples} for batch {index}."
                )
            yield num_examples, loss
        if index < 0:
            raise InvalidValueError("batches must hold at least one batch, got none.")
