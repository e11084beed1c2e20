"""Multiplier microarchitectures in Amaranth: the same exact product, built in different ways.

default         one `$mul` cell: the synthesis tool's own structure (yosys: a carry-save tree; a DSP where allowed)
rows            one `$mul` cell that the script maps onto a carry chain for each bit of an operand (rows.v), for FPGAs
booth           one `$mul` cell that the script turns into radix-4 Booth rows (yosys' pass `booth`)
array           Baugh-Wooley carry-save array with a ripple adder at the end, gate by gate
booth_array     radix-4 Booth rows of the second operand, carry-save array, Kogge-Stone adder at the end
sign_magnitude  the array on both magnitudes, the product negated where the signs differ
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned

from stages.hardware.mac_design import MICROARCHITECTURES
from stages.lib.core.errors import InputError


def product(m: Module, a: Value, b: Value, *, microarchitecture: str) -> Value:
    """a * b, exact: both operands may be signed or unsigned, the result is as wide as both together.

    m  module that the intermediate signals are added to
    """
    if microarchitecture not in MICROARCHITECTURES:
        raise InputError(
            f"there is no multiplier {microarchitecture!r}; choose one of {', '.join(MICROARCHITECTURES)}"
        )
    if microarchitecture == "array":
        return _array_product(m, a, b)
    if microarchitecture == "booth_array":
        return _booth_array_product(m, a, b)
    if microarchitecture == "sign_magnitude":
        return _sign_magnitude_product(m, a, b)
    return _bound(m, a * b, "product")


def _array_product(m: Module, a: Value, b: Value) -> Value:
    """Baugh-Wooley: partial products that carry one operand's sign are inverted, and constants make up for it.

    One row of full adders for each row of partial products, carries saved; a ripple of full adders at the end.
    A signed operand's top bit has negative weight: -x = ~x + 1 turns each negative partial product p * 2^k into
    (~p) * 2^k - 2^k. The sum of all the -2^k is one constant, whose bits take free places of the rows.
    """
    width = len(a) + len(b)
    constant = 0
    rows: list[dict[int, Value]] = []
    for i in range(len(b)):
        row: dict[int, Value] = {}
        for j in range(len(a)):
            negative = (a.shape().signed and j == len(a) - 1) != (b.shape().signed and i == len(b) - 1)
            row[i + j] = ~(a[j] & b[i]) if negative else a[j] & b[i]
            constant -= negative << (i + j)
        rows.append(row)
    for k in (k for k in range(width) if constant >> k & 1):
        free = next((row for row in rows if k not in row), None)
        if free is None:
            rows.append(free := {})
        free[k] = Const(1, 1)
    total, carry = rows[0], {}
    for index, row in enumerate(rows[1:]):
        total, carry = _save_carries(m, total, carry, row, name=f"row{index}")
    ripple: Value | None = None
    for k in range(width):
        column = [bit for bit in (total.get(k), carry.get(k), ripple) if bit is not None]
        total[k], ripple = _add_bits(m, column, name=f"final{k}")
    return _fit(Cat(*(total[k] for k in range(width))), a, b)


def _save_carries(
    m: Module, total: dict[int, Value], carry: dict[int, Value], row: dict[int, Value], *, name: str
) -> tuple[dict[int, Value], dict[int, Value]]:
    """One row of full adders: position -> bit of the running sum and of the carries into the next row."""
    sums: dict[int, Value] = {}
    carries: dict[int, Value] = {}
    for k in sorted({*total, *carry, *row}):
        bits = [bits[k] for bits in (total, carry, row) if k in bits]
        sums[k], out = _add_bits(m, bits, name=f"{name}_{k}")
        if out is not None:
            carries[k + 1] = out
    return sums, carries


def _add_bits(m: Module, bits: Sequence[Value], *, name: str) -> tuple[Value, Value | None]:
    """Sum bit and carry of up to three bits of one weight: nothing, a wire, a half adder or a full adder."""
    if len(bits) < 2:
        return (bits[0] if bits else Const(0, 1)), None
    x, y, z = [*bits, Const(0, 1)][:3]
    total = _bound(m, x ^ y ^ z, f"{name}_sum")
    return total, _bound(m, (x & y) | (z & (x ^ y)), f"{name}_carry")


def _fit(bits: Value, a: Value, b: Value) -> Value:
    """The low len(a) + len(b) bits, signed where an operand is."""
    bits = bits[: len(a) + len(b)]
    return bits.as_signed() if a.shape().signed or b.shape().signed else bits.as_unsigned()


def _bound(m: Module, value: Value, name: str) -> Signal:
    shape: Shape = signed(len(value)) if value.shape().signed else unsigned(len(value))
    signal = Signal(shape, name=name)
    m.d.comb += signal.eq(value)
    return signal


def _booth_array_product(m: Module, a: Value, b: Value) -> Value:
    """b in radix 4 with the digits -2 .. 2 (Booth, MacSorley): half as many rows as b has bits, each a multiple of a.

    A negative multiple is the inverted one plus 1; that 1 goes into the next row, where its place is free. A row's
    sign bit has negative weight and is handled as in `_array_product`.
    """
    x, y = _signed_bits(a), _signed_bits(b)
    y += y[-1:] * (len(y) % 2)
    constant, rows, last = 0, [], {}
    for i in range(0, len(y), 2):
        below, low, high = (y[i - 1] if i else Const(0, 1)), y[i], y[i + 1]
        once = _bound(m, low ^ below, f"once{i}")
        twice = _bound(m, (high & ~low & ~below) | (~high & low & below), f"twice{i}")
        negative = _bound(m, high & ~(low & below), f"negative{i}")
        # one bit more than x for twice its value
        multiple = [(once & p) | (twice & q) for p, q in zip([*x, x[-1]], [Const(0, 1), *x], strict=True)]
        row = {i + k: bit ^ negative for k, bit in enumerate(multiple)}
        row[i + len(x)] = ~row[i + len(x)]
        constant -= 1 << (i + len(x))
        rows.append(last | row)
        last = {i: negative}
    width = len(a) + len(b)
    ones = {k: Const(1, 1) for k in range(width) if constant >> k & 1}
    rows += [last | ones] if not last.keys() & ones.keys() else [last, ones]
    total, carry = rows[0], {}
    for index, row in enumerate(rows[1:]):
        total, carry = _save_carries(m, total, carry, row, name=f"row{index}")
    return _fit(_prefix_sum(m, total, carry, width), a, b)


def _prefix_sum(m: Module, x: dict[int, Value], y: dict[int, Value], width: int) -> Value:
    """Kogge and Stone's adder: every carry from a tree of log2(width) levels."""
    zero = Const(0, 1)
    half = [_bound(m, x.get(k, zero) ^ y.get(k, zero), f"half{k}") for k in range(width)]
    generate = [_bound(m, x.get(k, zero) & y.get(k, zero), f"generate{k}") for k in range(width)]
    propagate, distance = list(half), 1
    while distance < width:
        for k in reversed(
            range(distance, width)
        ):  # from the top, so that lower ones are still those of this level
            generate[k] = _bound(
                m, generate[k] | (propagate[k] & generate[k - distance]), f"generate{k}_{distance}"
            )
            propagate[k] = _bound(m, propagate[k] & propagate[k - distance], f"propagate{k}_{distance}")
        distance *= 2
    return Cat(half[0], *(half[k] ^ generate[k - 1] for k in range(1, width)))


def _sign_magnitude_product(m: Module, a: Value, b: Value) -> Value:
    magnitudes = [_bound(m, _magnitude(v), f"magnitude_{n}") for n, v in (("a", a), ("b", b))]
    size = _array_product(m, *magnitudes)
    signs = [v[-1] for v in (a, b) if v.shape().signed]
    negative = _bound(m, signs[0] ^ signs[1] if len(signs) == 2 else Cat(*signs), "negative")
    return _fit(Mux(negative, -size, size), a, b)


def _magnitude(v: Value) -> Value:
    return Mux(v[-1], -v, v)[: len(v)].as_unsigned() if v.shape().signed else v


def _signed_bits(v: Value) -> list[Value]:
    return [v[k] for k in range(len(v))] + ([] if v.shape().signed else [Const(0, 1)])
