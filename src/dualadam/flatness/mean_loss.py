"""The mean loss over a data set as a function of chosen parameters: its value, gradient and Hessian-vector product."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class MeanLoss:
    r"""The loss of a model over a data set, ready to be measured; what every function of this package takes.

    .. math:: L(w) = \sum_b n_b\, \ell_b(w) / \sum_b n_b

    with l_b what ``loss_fn`` returns for batch b (a mean over its examples) and n_b the number of its examples: an incomplete last
    batch counts for what it holds. A loss that is a mean over something else (tokens that are not padding) needs ``num_examples``.

    Every pass runs the model in **evaluation mode** (BatchNorm with its running statistics, no dropout) and gives each module its own
    mode back. Nothing else of the model changes: gradients are not written to ``.grad``, ``requires_grad`` stays as it is. Attention
    runs in torch's plain kernel, since the fused ones cannot be differentiated twice. The parameters are read at each pass, so a model that
    trains on is measured where it is; with ``dtype`` a converted copy is measured, taken here.

    Args:
        model: any module with real parameters.
        loss_fn: ``loss_fn(model, batch)`` returns a 0-d tensor. It must use the model that it is given.
        batches: an iterable of batches that can be iterated again and again with the same content: a list, or a DataLoader
            without random augmentation (a shuffled one is fine if it drops no batch).
        params: which parameters, as names or as the model's own tensors; None takes all that need a gradient. The others are constants.
        dtype: None measures in the model's precision; torch.float64 in a copy of the model, with the batches' floating-point tensors
            converted. Second derivatives in float32 are right to about 1e-6 of the largest eigenvalue, so do this for small ones.
        num_examples: ``num_examples(batch)`` returns n_b; None takes the first dimension of the batch's first tensor.

    Attributes:
        names: the chosen parameters' names, in the order in which they lie in a flat vector.
        num_params: length of a flat vector.
        device, dtype: of a flat vector.

    Raises:
        TypeError: batches is a one-time iterator, the loss is not a tensor, or a parameter is complex or of half precision.
        ValueError: no parameter, a frozen or unknown one; no batch; a loss that is not a scalar, not finite, or
            does not depend on the parameters (found when it is differentiated); a loss that differs between two evaluations.

    Example:
        >>> import torch
        >>> from dualadam.flatness import MeanLoss
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> loss_fn = lambda model, batch: (model(batch[0]) - batch[1]).square().mean()
        >>> x = torch.tensor([[1.0], [2.0], [3.0]])
        >>> loss = MeanLoss(model, loss_fn, [(x[:2], x[:2]), (x[2:], x[2:])])
        >>> round(loss.hvp(torch.ones(1)).item(), 4)  # d2/dw2 of mean (w x - y)^2 is 2 mean x^2 = 28 / 3: unequal batches do no harm
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
            raise TypeError(
                "batches must be iterable more than once, got an iterator; pass a list or a DataLoader."
            )
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32, torch.float64 or None, got {dtype}.")
        self.names = _chosen_names(model, params, dtype)
        self.model = copy.deepcopy(model).to(dtype) if dtype else model
        self.loss_fn, self.batches, self.num_examples = loss_fn, batches, num_examples or _num_rows
        self._convert = functools.partial(_to_dtype, dtype=dtype)
        by_name = dict(self.model.named_parameters(remove_duplicate=False))
        self.params = [by_name[name] for name in self.names]
        self.num_params = sum(p.numel() for p in self.params)
        self.device, self.dtype = (
            self.params[0].device,
            functools.reduce(torch.promote_types, (p.dtype for p in self.params)),
        )

        first, second = self.value(), self.value()
        if not math.isclose(first, second, rel_tol=100 * torch.finfo(self.dtype).eps):
            raise ValueError(
                f"The loss must be deterministic, got {first!r} and then {second!r} for the same parameters; "
                "take randomness out of loss_fn, and augmentation or sampling out of batches."
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
        """Return the Hessian of L times a flat vector; ``dualadam.flatness.hvp`` says more."""
        if vector.shape != (self.num_params,):
            raise ValueError(
                f"vector must have the shape ({self.num_params},), got {tuple(vector.shape)}."
            )
        parts = [
            part.to(p)
            for part, p in zip(self.split(vector.detach()).values(), self.params, strict=True)
        ]

        def double_backward(loss: Tensor) -> tuple[Tensor, ...]:
            grads = self._gradients(loss, create_graph=True)
            curved = [
                (g, v) for g, v in zip(grads, parts, strict=True) if g.requires_grad
            ]  # not where the loss is linear
            if not curved:
                return tuple(map(torch.zeros_like, self.params))
            return torch.autograd.grad(
                [g for g, _ in curved], self.params, [v for _, v in curved], materialize_grads=True
            )

        return self._mean_derivative(double_backward)

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the parts of a flat vector in the shape of each parameter, by name; they share its memory."""
        parts = vector.split([p.numel() for p in self.params])
        return {
            name: part.view(p.shape)
            for name, part, p in zip(self.names, parts, self.params, strict=True)
        }

    @contextmanager
    def moved_by(self, vector: Tensor) -> Iterator[None]:
        """Within this context the parameters are w + vector; afterwards they are what they were, bit for bit."""
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
        """Return the mean over the data of what ``differentiate`` makes of each batch's loss, as a flat vector."""
        mean = torch.zeros(self.num_params, device=self.device, dtype=self.dtype)
        parts, num_examples = list(self.split(mean).values()), 0
        with self._evaluation():
            for n, loss in self._batch_losses():
                for part, term in zip(parts, differentiate(loss), strict=True):
                    part.add_(term.to(part.device), alpha=n)
                num_examples += n
        mean /= num_examples
        if not mean.isfinite().all():
            raise ValueError(
                "The loss must have finite derivatives, got NaN or infinity; dtype=torch.float64 helps if they overflow."
            )
        return mean

    def _gradients(self, loss: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
        """Return a batch's gradients, zeros for a parameter that it does not use."""
        used = loss.requires_grad and torch.autograd.grad(
            loss, self.params, create_graph=create_graph, allow_unused=True
        )
        if not used or all(grad is None for grad in used):
            raise ValueError(
                "The loss must depend on the chosen parameters, got one that does not; loss_fn must use the model it gets."
            )
        return tuple(
            torch.zeros_like(p) if grad is None else grad
            for grad, p in zip(used, self.params, strict=True)
        )

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Evaluation mode and twice differentiable attention, for one pass."""
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
                raise TypeError(f"loss_fn must return a tensor, got {type(loss).__name__}.")
            if loss.ndim != 0:
                raise ValueError(
                    f"loss_fn must return a 0-d tensor, got shape {tuple(loss.shape)}; take the mean over the batch."
                )
            if not loss.isfinite():
                raise ValueError(f"The loss must be finite, got {loss.item()} on batch {index}.")
            if not num_examples > 0:
                raise ValueError(
                    f"num_examples must be positive, got {num_examples} for batch {index}."
                )
            yield num_examples, loss
        if index < 0:
            raise ValueError("batches must hold at least one batch, got none.")


def _chosen_names(
    model: nn.Module, params: Iterable[str | Tensor] | None, dtype: torch.dtype | None
) -> list[str]:
    """Return the names of the chosen parameters, each once, in the order given."""
    if params is None:
        names = [name for name, p in model.named_parameters() if p.requires_grad]
    else:
        names = list(
            dict.fromkeys(
                _name_of(p, model)
                for p in ([params] if isinstance(params, str | Tensor) else params)
            )
        )
    if not names:
        raise ValueError(
            "params must hold at least one parameter that needs a gradient, got none; unfreeze or choose some."
        )
    for name in names:
        param = model.get_parameter(name)
        if not param.requires_grad:
            raise ValueError(
                f"params must need a gradient, got the frozen {name!r}; call requires_grad_() on it."
            )
        if param.is_complex():
            raise TypeError(f"params must be real, got {name!r} of {param.dtype}.")
        if (dtype or param.dtype) not in (torch.float32, torch.float64):
            raise TypeError(
                f"params must be float32 or float64, got {name!r} of {param.dtype}; dtype=torch.float32 measures a converted copy."
            )
    return names


def _name_of(param: str | Tensor, model: nn.Module) -> str:
    """Return the first name of a parameter given by any of its names or as itself."""
    by_name = dict(model.named_parameters(remove_duplicate=False))
    if isinstance(param, str) and param not in by_name:
        raise ValueError(
            f"params must name parameters of the model, got {param!r}; it has {', '.join(by_name)}."
        )
    wanted = by_name[param] if isinstance(param, str) else param
    for name, candidate in by_name.items():
        if candidate is wanted:
            return name
    raise ValueError("params must be parameters of the model, got a tensor that is none of them.")


def _parts(batch: Any) -> Iterable[Any]:
    return (
        batch.values()
        if isinstance(batch, Mapping)
        else batch
        if isinstance(batch, list | tuple)
        else ()
    )


def _num_rows(batch: Any) -> int:
    """Return the first dimension of the first tensor in a batch."""

    def first_tensor(item: Any) -> Tensor | None:
        if isinstance(item, Tensor):
            return item
        return next((found for found in map(first_tensor, _parts(item)) if found is not None), None)

    tensor = first_tensor(batch)
    if tensor is None or tensor.ndim == 0:
        raise ValueError(
            f"num_examples must be given where a batch does not start with a tensor of examples, got {type(batch).__name__}."
        )
    return tensor.shape[0]


def _to_dtype(batch: Any, dtype: torch.dtype | None) -> Any:
    """Return the batch with its floating-point tensors converted; None changes nothing."""
    if dtype is None:
        return batch
    if isinstance(batch, Tensor):
        return batch.to(dtype) if batch.is_floating_point() else batch
    if isinstance(batch, Mapping):
        return {key: _to_dtype(value, dtype) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        items = [_to_dtype(item, dtype) for item in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    return batch
