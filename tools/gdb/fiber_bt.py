"""Back traces of suspended fibers, live or from a core file (x86-64).

    (gdb) source tools/gdb/fiber_bt.py
    (gdb) fiber-bt            every suspended fiber of every loop that a thread serves
    (gdb) fiber-bt LOOP       of one loop, given as a pointer or reference to a zest::LoopBase
    (gdb) fiber-bt LOOP 5     at most 5 frames each

A suspended fiber's registers lie where jump_fcontext saved them: Fiber::saved points at r12-r15, rbx, rbp and rip from
offset 0x10 on, and its stack continues behind them. An unwinder that stands in for the innermost frame of the selected
thread makes gdb walk on from there. Frame #0 therefore belongs to the thread and is left out, like everything below
make_fcontext.
"""

import gdb
from gdb.unwinder import Unwinder, register_unwinder

SAVED_REGISTERS = (("r12", 0x10), ("r13", 0x18), ("r14", 0x20), ("r15", 0x28), ("rbx", 0x30), ("rbp", 0x38), ("rip", 0x40))
STACK_AFTER = 0x48
OUTERMOST = ("make_fcontext", "zest::(anonymous namespace)::fiber_main")


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class FiberUnwinder(Unwinder):
    """While `context` is set, pretends that the innermost frame was called by the suspended fiber."""

    def __init__(self):
        super().__init__("zest-fiber")
        self.context = None
        self.innermost_sp = 0

    def __call__(self, pending_frame):
        if self.context is None or int(pending_frame.read_register("rsp")) != self.innermost_sp:
            return None
        word = gdb.lookup_type("unsigned long")

        def saved(offset):
            return gdb.Value(self.context + offset).cast(word.pointer()).dereference()

        unwind = pending_frame.create_unwind_info(FrameId(gdb.Value(self.context).cast(word), gdb.Value(0).cast(word)))
        for register, offset in SAVED_REGISTERS:
            unwind.add_saved_register(register, saved(offset))
        unwind.add_saved_register("rsp", gdb.Value(self.context + STACK_AFTER).cast(word))
        return unwind


UNWINDER = FiberUnwinder()
register_unwinder(None, UNWINDER, replace=True)


def elements(vector):
    """The elements of a std::vector, without relying on pretty printers."""
    item = vector["_M_impl"]["_M_start"]
    while item != vector["_M_impl"]["_M_finish"]:
        yield item.dereference()
        item += 1


def pointer_of(unique_ptr):
    """What a std::unique_ptr holds: the first pointer in its nested tuple."""
    address = int(unique_ptr.address)
    return gdb.Value(address).cast(gdb.lookup_type("zest::Fiber").pointer().pointer()).dereference()


def served_loops():
    """The loops that threads of the program serve now, each once."""
    selected = gdb.selected_thread()
    found = []
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        try:
            loop = gdb.parse_and_eval("'zest::(anonymous namespace)::serving_loop'")
        except gdb.error:
            continue
        if int(loop) != 0 and int(loop) not in [int(other) for other in found]:
            found.append(loop)
    if selected is not None:
        selected.switch()
    return found


def print_frames(fiber, frames_max):
    UNWINDER.context = int(fiber["saved"])
    gdb.invalidate_cached_frames()
    try:
        frame = gdb.newest_frame().older()
        number = 0
        while frame is not None and number < frames_max and frame.name() not in OUTERMOST:
            line = frame.find_sal()
            place = f" at {line.symtab.filename}:{line.line}" if line.symtab else ""
            print(f"  #{number:<2} {frame.name() or hex(frame.pc())}{place}")
            frame = frame.older()
            number += 1
    except gdb.error as error:
        print(f"  (the rest can't be read: {error})")
    finally:
        UNWINDER.context = None
        gdb.invalidate_cached_frames()


class FiberBacktrace(gdb.Command):
    """fiber-bt [LOOP [FRAMES]]: back traces of suspended fibers."""

    def __init__(self):
        super().__init__("fiber-bt", gdb.COMMAND_STACK)

    def invoke(self, argument, _from_tty):
        words = gdb.string_to_argv(argument)
        frames_max = int(words[1]) if len(words) > 1 else 40
        if words:
            value = gdb.parse_and_eval(words[0])
            loops = [value if value.type.code == gdb.TYPE_CODE_PTR else value.address]
        else:
            loops = served_loops()
        gdb.newest_frame().select()
        UNWINDER.innermost_sp = int(gdb.parse_and_eval("(unsigned long)$rsp"))
        base = gdb.lookup_type("zest::LoopBase").pointer()
        for loop in loops:
            loop = loop.dynamic_cast(base) if loop.type != base else loop
            print(f"loop {hex(int(loop))}:")
            for held in elements(loop["all_"]):
                fiber = pointer_of(held)
                if bool(fiber["running_task"]) and int(fiber) != int(loop["current_"]):
                    print(f" fiber {hex(int(fiber))}:")
                    print_frames(fiber, frames_max)


FiberBacktrace()
