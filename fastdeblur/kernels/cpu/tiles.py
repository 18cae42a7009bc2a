"""Work queue of tiles (CPU): how threads take them, and the records that tasks read.

A pass over an image is a task (see `runtime`) called once a tile.  What it works on is one
record of addresses, sizes and scalars; where it works is a scratch of its own.  Tiles depend on
shapes alone and each writes only its own pixels and its own row of `SUMS` partial sums, so
results do not depend on how many threads there are or which of them took a tile.

Each thread begins with an even run of the tiles, the same in every pass, so that what it wrote
is still in its cache; then it takes what the others have left.
"""

import os

import numpy as np
from llvmlite import ir
from numba import carray, from_dtype, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime.tasks import jit, task
from .simd import INDEX, doubles, integers

# Partial sums a tile, one cache line.
SUMS = 8
# A queue is an array of integers, one cache line each: first three for whoever lets several passes
# follow each other (see `descent_loop`), then the next tile of each thread's run.
LINE = 8
EPOCH, OVER, FINISHED, RUNS = 0, LINE, 2 * LINE, 3 * LINE

# The blur or its adjoint for one path: valid correlation with `taps_down x taps_across` weights.
# `down` holds, for each rank, the column's weights with a register tile's rows of zeros (less one)
# above and below; the direct path keeps the whole psf there, in the same way, and no `across`.
# The FFT path has the psf's spectrum there, in the order that transforms of `fft_rows x fft_cols` leave, and a plan's
# radices (their number, then they themselves, but for the columns' first and the rows' last) and twiddles, see
# `fourier`; and the address of the stages of a tile, see `fft`.
FILTER = np.dtype(
    [(name, np.intp) for name in ("taps_down", "taps_across", "rank", "down", "across", "work_pitch")]
    + [(name, np.intp) for name in ("fft_rows", "fft_cols", "strip", "radices_down", "radices_across")]
    + [(name, np.intp) for name in ("twiddles_first", "twiddles_down", "twiddles_down_end", "twiddles_across")]
    + [("stages", np.intp)],
    align=True,
)

# How an image is cut into tiles, by the first row (column) of each band and the end of the last,
# and where in a thread's scratch (in elements) things lie: first the tile itself, then another block
# of its size, then `work` for the path, then whatever the pass needs.
GRID = [(name, np.intp) for name in ("rows", "cols", "cuts_down", "cuts_across", "tiles_down", "tiles_across")]
GRID += [(name, np.intp) for name in ("tile_pitch", "block", "work", "extra", "sums")]

# Who works on what: the task now under way and its record, and the threads' scratch.
CREW = [(name, np.intp) for name in ("task", "record", "tiles", "queue", "scratch", "stride")]


def reader(dtype):
    """An intrinsic that reads the record at an integer address."""
    record = from_dtype(dtype)

    @intrinsic
    def read(typingctx, address):
        def codegen(context, builder, sig, args):
            return builder.inttoptr(args[0], context.get_value_type(record))

        return record(types.intp), codegen

    return read


read_filter = reader(FILTER)


def correlation_signature(pixels):
    """Signature of a path: filter, source, pitch, out, pitch, rows, cols, work."""
    size = types.intp
    return types.void(size, pixels, size, pixels, size, size, size, pixels)


def task_signature(pixels):
    """Signature of a task: record, scratch, tile."""
    return types.void(types.intp, pixels, types.intp)


def crew_signature(pixels):
    """Signature of what `runtime.launch` has each thread do: record, thread, threads."""
    return types.void(types.intp, types.intp, types.intp)


def call_at_address(context, builder, sig, args):
    """What an intrinsic does that calls the C function at its first argument with the others."""
    lowered = [context.get_value_type(t) for t in sig.args[1:]]
    function = ir.FunctionType(ir.VoidType(), lowered).as_pointer()
    builder.call(builder.inttoptr(args[0], function), args[1:])
    return context.get_dummy_value()


@intrinsic
def call_correlation(typingctx, address, filter, source, pitch, out, out_pitch, rows, cols, work):
    """Call the path at `address`."""
    size = types.intp
    return types.void(size, size, source, size, out, size, size, size, work), call_at_address


@intrinsic
def call_within(typingctx, address, record, scratch, tile):
    """Call the task at `address` from within another, in its scratch."""
    size = types.intp
    return types.void(size, size, scratch, size), call_at_address


@intrinsic
def call_task(typingctx, address, record, scratch, tile):
    """Call the task at `address`; `scratch` is an address too."""
    size = types.intp

    def codegen(context, builder, sig, args):
        memory = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [args[1].type, memory, args[3].type]).as_pointer()
        builder.call(builder.inttoptr(args[0], function), [args[1], builder.inttoptr(args[2], memory), args[3]])
        return context.get_dummy_value()

    return types.void(size, size, size, size), codegen


def _entry(context, builder, sig, args):
    integer = ir.IntType(64)
    return builder.inttoptr(builder.add(args[0], builder.mul(args[1], integer(8))), integer.as_pointer())


@intrinsic
def add_to(typingctx, queue, entry, count):
    """Add to an entry of a queue, at once for all threads; returns what it was."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", _entry(context, builder, sig, args), args[2], "acq_rel")

    return types.intp(types.intp, types.intp, types.intp), codegen


@intrinsic
def read_from(typingctx, queue, entry):
    """An entry of a queue, and with it all that was written before it was set."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(_entry(context, builder, sig, args), "acquire", 8)

    return types.intp(types.intp, types.intp), codegen


@intrinsic
def set_in(typingctx, queue, entry, number):
    """Set an entry of a queue; whoever reads it sees all that was written before."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[2], _entry(context, builder, sig, args), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@intrinsic
def relax(typingctx, idle):
    """Wait a moment; after `idle` such moments, let another process have the core."""

    def codegen(context, builder, sig, args):
        if builder.module.triple.startswith("x86"):
            pause = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            )
            builder.call(pause, [])
        if os.name == "posix":
            with builder.if_then(builder.icmp_signed(">", args[0], INDEX(4096)), likely=False):
                give_way = cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
                )
                builder.call(give_way, [])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@jit
def locate(grid, tile):
    """Plane, band down and across, first row, first column, rows and columns of a tile."""
    down, across = tile // grid.tiles_across, tile % grid.tiles_across
    plane, down = down // grid.tiles_down, down % grid.tiles_down
    rows, cols = integers(grid.cuts_down), integers(grid.cuts_across)
    i, j = rows[down], cols[across]
    return plane, down, across, i, j, rows[down + 1] - i, cols[across + 1] - j


@jit
def sums_of(grid, tile):
    """The tile's own partial sums."""
    return carray(doubles(grid.sums + 8 * SUMS * tile), SUMS)


@jit
def share(queue, threads, tiles):
    """Give each thread an even run of the tiles."""
    for thread in range(threads):
        set_in(queue, RUNS + thread * LINE, tiles * thread // threads)


@jit
def work(crew, thread, threads):
    """Do one thread's run, then what the others have left; returns how many tiles were done.

    The task is read anew after each tile is taken: when passes follow each other, the tile may
    be one of the next.
    """
    done = 0
    scratch = crew.scratch + thread * crew.stride
    for k in range(threads):
        run = (thread + k) % threads
        end = crew.tiles * (run + 1) // threads
        tile = add_to(crew.queue, RUNS + run * LINE, 1)
        while tile < end:
            call_task(crew.task, crew.record, scratch, tile)
            done += 1
            tile = add_to(crew.queue, RUNS + run * LINE, 1)
    return done


SINGLE_PASS = np.dtype(CREW, align=True)
read_crew = reader(SINGLE_PASS)


@task(crew_signature)
def single_pass(address, thread, threads):
    """What a thread does when there is one pass; its runs are shared out beforehand."""
    work(read_crew(address), thread, threads)
