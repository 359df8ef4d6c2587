"""The code of the CUDA step, in Triton. It is imported when a CUDA tensor is stepped.

There are two launches. ``prepare`` counts the step of every tensor and forms its coefficients in
float64. ``advance`` steps all tensors in chunks. Both find the tensors in a table of addresses. The
formulas are those of _step/equations.py, the noise is that of _step/rounding.py, and moments in 8
bits are those of _step/quantised.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

ROW = tl.constexpr(11)  # float64 numbers that prepare writes for a tensor
# of the table: addresses of p, g, m, v and step, number of elements, place
COLUMNS = tl.constexpr(7)
# of moments in 8 bits: numbers and bytes of a block
NUMBERS, BYTES = tl.constexpr(64), tl.constexpr(65)


@triton.jit
def as_double(bits):
    """Return a float64 from its bits: Triton would narrow a Python float to float32."""
    return bits.to(tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def mix(h):
    """Scramble unsigned 32-bit integers (the finalizer of MurmurHash3)."""
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    return h ^ (h >> 16)


@triton.jit(
    do_not_specialize=[
        "num_tensors",
        "lr",
        "beta1",
        "beta2",
        "eps",
        "weight_decay",
        "switch_rate",
        "sign",
    ]
)
def prepare(
    table,
    rows,
    num_tensors,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    switch_rate,
    sign,
    grad_scale,
    found_inf,
    LR_ON_DEVICE: tl.constexpr,
    BETAS_ON_DEVICE: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    HAS_FOUND_INF: tl.constexpr,
    STEP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Advance the steps and write each tensor's coefficients to ``rows``.

    Where found_inf is not 0, no step changes.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = i < num_tensors
    steps = tl.load(table + i * COLUMNS + 4, mask=here, other=0).to(tl.pointer_type(STEP))
    place = tl.load(table + i * COLUMNS + 6, mask=here, other=0).to(tl.uint32)
    lr64 = tl.load(lr).to(tl.float64) if LR_ON_DEVICE else as_double(lr)
    b1 = tl.load(beta1).to(tl.float64) if BETAS_ON_DEVICE else as_double(beta1)
    b2 = tl.load(beta2).to(tl.float64) if BETAS_ON_DEVICE else as_double(beta2)
    factor = as_double(sign)
    if HAS_SCALE:
        factor = factor / tl.load(grad_scale).to(tl.float64)
    active = 1.0
    if HAS_FOUND_INF:
        active = tl.where(tl.load(found_inf) == 0, 1.0, 0.0)

    counted = tl.load(steps, mask=here, other=1) + active
    tl.store(steps, counted, mask=here)
    step = counted.to(tl.float64)
    alpha = 1 - as_double(switch_rate) * step
    alpha = tl.where(alpha < 1e-9, 0.0, alpha)
    # a beta of 0 has no logarithm; 1 - 1e-30 is 1
    step_size = lr64 / (1 - tl.exp(step * tl.log(tl.maximum(b1, 1e-30))))
    root = tl.sqrt(1 - tl.exp(step * tl.log(tl.maximum(b2, 1e-30))))
    # a step that is no count (nan, or beyond 2^53) has the noise of 0: its cast is undefined
    is_count = (step >= 0) & (step < 9007199254740992.0)
    count = tl.where(is_count, step, 0.0).to(tl.int64).to(tl.uint32)
    seed = mix(place ^ 0x9E3779B9) + count

    row = rows + i * ROW
    tl.store(row + 0, -step_size * (1 - alpha), mask=here)
    tl.store(row + 1, -step_size * alpha, mask=here)
    tl.store(row + 2, root, mask=here)
    tl.store(row + 3, 1 - lr64 * as_double(weight_decay) + tl.zeros_like(step), mask=here)
    tl.store(row + 4, factor + tl.zeros_like(step), mask=here)
    tl.store(row + 5, 1 - b1 + tl.zeros_like(step), mask=here)
    tl.store(row + 6, b2 + tl.zeros_like(step), mask=here)
    tl.store(row + 7, 1 - b2 + tl.zeros_like(step), mask=here)
    tl.store(row + 8, as_double(eps) + tl.zeros_like(step), mask=here)
    tl.store(row + 9, mix(seed).to(tl.float64), mask=here)  # 32 bits fit into a float64
    tl.store(row + 10, active + tl.zeros_like(step), mask=here)


@triton.jit
def rounded(x, noise, DTYPE: tl.constexpr, STOCHASTIC: tl.constexpr):
    """Round float32 numbers: to nearest, or in bfloat16 at random so that the mean is right."""
    if DTYPE == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        magnitude = bits & 0x7FFFFFFF
        if STOCHASTIC:
            added = tl.where(magnitude < 0x7F800000, noise & 0xFFFF, 0)
        else:
            added = 0x7FFF + ((bits >> 16) & 1)
        cut = tl.where(magnitude > 0x7F800000, 0x7FC00000, (bits + added) & 0xFFFF0000)
        return cut.to(tl.uint32).to(tl.float32, bitcast=True).to(tl.bfloat16)
    return x.to(DTYPE)


@triton.jit
def advance(
    table,
    chunks,
    rows,
    PARAM: tl.constexpr,
    STATE: tl.constexpr,
    STOCHASTIC: tl.constexpr,
    ALIGNED: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Step one chunk of one tensor; ``chunks`` has a row (tensor, chunk) per program."""
    tensor = tl.load(chunks + 2 * tl.program_id(0))
    first = tl.load(chunks + 2 * tl.program_id(0) + 1).to(tl.int64) * CHUNK
    row = rows + tensor * ROW
    if tl.load(row + 10) != 0:
        entry = table + tensor * COLUMNS
        p = tl.load(entry + 0).to(tl.pointer_type(PARAM))
        g = tl.load(entry + 1).to(tl.pointer_type(PARAM))
        m = tl.load(entry + 2).to(tl.pointer_type(STATE))
        v = tl.load(entry + 3).to(tl.pointer_type(STATE))
        if ALIGNED:  # the host has checked it: 16-byte loads and stores
            p, g, m, v = (
                tl.multiple_of(p, 16),
                tl.multiple_of(g, 16),
                tl.multiple_of(m, 16),
                tl.multiple_of(v, 16),
            )
        p, g = p + first, g + first
        of_state = first // NUMBERS * BYTES if STATE == tl.uint8 else first
        m, v = m + of_state, v + of_state
        numbers = coefficients(row, STATE != tl.float32)
        left = tl.minimum(tl.load(entry + 5) - first, CHUNK).to(tl.int32)
        if left == CHUNK:  # without a mask: masked loads are not wide
            for start in tl.range(0, CHUNK, BLOCK):
                step_block(
                    p,
                    g,
                    m,
                    v,
                    numbers,
                    first,
                    start,
                    CHUNK,
                    BLOCK,
                    PARAM,
                    STATE,
                    STOCHASTIC,
                    False,
                )
        else:
            for tail in tl.range(0, left, BLOCK):
                step_block(
                    p,
                    g,
                    m,
                    v,
                    numbers,
                    first,
                    tail,
                    left,
                    BLOCK,
                    PARAM,
                    STATE,
                    STOCHASTIC,
                    True,
                )


@triton.jit
def coefficients(row, FOLDED: tl.constexpr):
    """Return the coefficients of a tensor in float32, and the key of its noise.

    FOLDED saves a division, as on the CPU: with r root for r, sqrt(v) / root + eps is
    sqrt(v) + eps root.
    """
    c_adam, c_inv, root, eps = tl.load(row), tl.load(row + 1), tl.load(row + 2), tl.load(row + 8)
    if FOLDED:
        c_adam, c_inv, eps = c_adam * root, c_inv / root, eps * root
    weight1 = tl.load(row + 5)
    # torch's lerp starts from the nearer end
    nearer = tl.where(weight1 < 0.5, weight1, weight1 - 1)
    return (
        c_adam.to(tl.float32),
        c_inv.to(tl.float32),
        root.to(tl.float32),
        tl.load(row + 3).to(tl.float32),
        tl.load(row + 4).to(tl.float32),
        nearer.to(tl.float32),
        tl.load(row + 6).to(tl.float32),
        tl.load(row + 7).to(tl.float32),
        eps.to(tl.float32),
        tl.load(row + 9).to(tl.uint32),
    )


@triton.jit
def step_block(
    p_at,
    g_at,
    m_at,
    v_at,
    numbers,
    first,
    start,
    left,
    BLOCK: tl.constexpr,
    PARAM: tl.constexpr,
    STATE: tl.constexpr,
    STOCHASTIC: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Step the elements from ``start`` on, in float32; none is at ``left`` or beyond."""
    c_adam, c_inv, root, decay, factor, weight1, beta2, weight2, eps, noise_key = numbers
    if STATE == tl.uint8:
        block = start // NUMBERS + tl.arange(0, BLOCK // NUMBERS)[:, None]
        place = tl.arange(0, NUMBERS)[None, :]
        i = block * NUMBERS + place
        m_old, v_old = from_8_bits(m_at, block, left, True), from_8_bits(v_at, block, left, False)
    else:
        i = start + tl.arange(0, BLOCK)
    mask = None
    if MASKED:
        mask = i < left
    p_old, g = tl.load(p_at + i, mask=mask).to(tl.float32), tl.load(g_at + i, mask=mask)
    if STATE != tl.uint8:
        m_old, v_old = tl.load(m_at + i, mask=mask), tl.load(v_at + i, mask=mask)
        m_old, v_old = m_old.to(tl.float32), v_old.to(tl.float32)

    g = g.to(tl.float32) * factor
    m = tl.fma(tl.zeros_like(g) + weight1, g - m_old, tl.where(weight1 > 0, m_old, g))
    v = tl.fma(weight2 * g, g, v_old * beta2)
    if STATE == tl.float32:
        r = tl.div_rn(tl.sqrt_rn(v), root) + eps
        adam = tl.div_rn(c_adam * m, r)
    else:  # the coefficients have the root; root and quotient are within 1 and 2 units
        r = tl.sqrt(v) + eps
        adam = c_adam * m / r
    # a part whose coefficient is 0 is left out, so that 0 x inf cannot arise
    p = p_old * decay
    p = tl.where(c_adam != 0, p + adam, p)
    p = tl.where(c_inv != 0, tl.fma(c_inv * m, r, p), p)

    noise = tl.zeros_like(i).to(tl.uint32)
    if STATE == tl.uint8:
        if STOCHASTIC:
            of_block = mix((first // NUMBERS + block).to(tl.uint32) + noise_key)
            noise = of_block * (mix(place.to(tl.uint32) + 0xBB67AE85) | 1)
        to_8_bits(m_at, block, left, m, noise >> 12, STOCHASTIC, True)
        to_8_bits(v_at, block, left, v, noise & 0x7FFFF, STOCHASTIC, False)
    else:
        if STOCHASTIC:
            noise = mix((first + i).to(tl.uint32) + noise_key)
        tl.store(m_at + i, rounded(m, noise, STATE, STOCHASTIC), mask=mask)
        tl.store(v_at + i, rounded(v, noise >> 16, STATE, STOCHASTIC), mask=mask)
    tl.store(p_at + i, rounded(p, (noise * 0x9E370001) >> 16, PARAM, STOCHASTIC), mask=mask)


@triton.jit
def from_8_bits(at, block, left, SIGNED: tl.constexpr):
    """Return a moment in float32: a row for each block of 64 numbers."""
    CUT: tl.constexpr = 20 if SIGNED else 19
    place = tl.arange(0, NUMBERS)[None, :]
    e = tl.load(at + block * BYTES, mask=block * NUMBERS < left, other=0)
    code = tl.load(at + block * BYTES + 1 + place, mask=block * NUMBERS + place < left, other=0)
    c, code = e.to(tl.uint32) << 23, code.to(tl.uint32)
    magnitude = code & 0x7F if SIGNED else code
    x = (c + (magnitude << CUT)).to(tl.float32, bitcast=True) - c.to(tl.float32, bitcast=True)
    if SIGNED:
        x = (x.to(tl.uint32, bitcast=True) | (code & 0x80) << 24).to(tl.float32, bitcast=True)
    return x


@triton.jit
def to_8_bits(at, block, left, x, noise, STOCHASTIC: tl.constexpr, SIGNED: tl.constexpr):
    """Store a moment, given with a row for each block of 64 numbers."""
    CUT: tl.constexpr = 20 if SIGNED else 19
    place = tl.arange(0, NUMBERS)[None, :]
    here = block * NUMBERS + place < left
    if not STOCHASTIC:
        noise = noise + (1 << (CUT - 1))
    magnitude = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    largest = tl.max(tl.where(here, magnitude, 0), 1, keep_dims=True)
    e = tl.where(largest < 0x7F800000, tl.maximum((largest >> 23) - 14, 7), 255)
    c = e.to(tl.uint32) << 23
    lifted = tl.abs(x) + c.to(tl.float32, bitcast=True)
    code = (lifted.to(tl.uint32, bitcast=True) + (noise - c)) >> CUT
    if SIGNED:
        code = (code & 0x7F) | (x.to(tl.uint32, bitcast=True) >> 24 & 0x80)
    else:
        code = tl.maximum(code, 1)  # its root is divided by
    code = tl.where(e < 255, code, 0)  # with an inf or nan all numbers of the block are nan
    tl.store(at + block * BYTES, e.to(tl.uint8), mask=block * NUMBERS < left)
    tl.store(at + block * BYTES + 1 + place, code.to(tl.uint8), mask=here)
