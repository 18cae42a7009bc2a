"""Optimisers (gd, momentum, Nesterov, Adam, Adagrad; CPU): the next estimate, a row at a time.

Each is a task of its own, called once a row through its address, so that a descent compiles the
one it uses.  They are TensorFlow 1's, with its defaults and the notebook's momentum.
"""

from math import sqrt

from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ..runtime.tasks import task
from .rows import restrict
from .simd import real
from .step_rows import descend_row

KEEP = 0.9
KEEP_SQUARE = 0.999
EPSILON = 1e-8
ADAGRAD_START = 0.1


def rule_signature(pixels):
    """Signature of a rule: rate, estimate, gradient, two rows of state, out, columns."""
    return types.void(types.float64, pixels, pixels, pixels, pixels, pixels, types.intp)


@intrinsic
def call_rule(typingctx, address, rate, here, gradient, first, second, out, cols):
    """Call the rule at `address`."""

    def codegen(context, builder, sig, args):
        lowered = [context.get_value_type(t) for t in sig.args[1:]]
        function = ir.FunctionType(ir.VoidType(), lowered).as_pointer()
        builder.call(builder.inttoptr(args[0], function), args[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.float64, here, here, here, here, here, types.intp), codegen


@task(rule_signature)
def gd(rate, here, gradient, first, second, out, cols):
    """Gradient descent."""
    descend_row(here, gradient, real(rate, here), out, cols)


@task(rule_signature)
def momentum(rate, here, gradient, first, second, out, cols):
    """Momentum, the rate multiplying the velocity."""
    restrict()
    x, g, y, velocity = carray(here, cols), carray(gradient, cols), carray(out, cols), carray(first, cols)
    rate_, keep = real(rate, here), real(KEEP, here)
    for j in range(y.size):
        velocity[j] = keep * velocity[j] + g[j]
        y[j] = x[j] - rate_ * velocity[j]


@task(rule_signature)
def nesterov(rate, here, gradient, first, second, out, cols):
    """Nesterov's momentum, the gradient being taken where the estimate is."""
    restrict()
    x, g, y, velocity = carray(here, cols), carray(gradient, cols), carray(out, cols), carray(first, cols)
    rate_, keep = real(rate, here), real(KEEP, here)
    for j in range(y.size):
        velocity[j] = keep * velocity[j] + g[j]
        y[j] = x[j] - rate_ * (g[j] + keep * velocity[j])


@task(rule_signature)
def adam(rate, here, gradient, first, second, out, cols):
    """Adam (Kingma & Ba 2015); `rate` has its bias corrections in it."""
    restrict()
    x, g, y = carray(here, cols), carray(gradient, cols), carray(out, cols)
    mean, square = carray(first, cols), carray(second, cols)
    rate_, one, epsilon = real(rate, here), real(1.0, here), real(EPSILON, here)
    forget, forget_square = one - real(KEEP, here), one - real(KEEP_SQUARE, here)
    for j in range(y.size):
        mean[j] += (g[j] - mean[j]) * forget
        square[j] += (g[j] * g[j] - square[j]) * forget_square
        y[j] = x[j] - rate_ * mean[j] / (sqrt(square[j]) + epsilon)


@task(rule_signature)
def adagrad(rate, here, gradient, first, second, out, cols):
    """Adagrad (Duchi, Hazan & Singer 2011)."""
    restrict()
    x, g, y, total = carray(here, cols), carray(gradient, cols), carray(out, cols), carray(first, cols)
    rate_ = real(rate, here)
    for j in range(y.size):
        total[j] += g[j] * g[j]
        y[j] = x[j] - rate_ * g[j] / sqrt(total[j])


RULES = {"gd": gd, "momentum": momentum, "nesterov": nesterov, "adam": adam, "adagrad": adagrad}
