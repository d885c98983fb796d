//! What a program under callgrind says to it (valgrind manual, "Client request reference").
use std::arch::asm;

/// `CALLGRIND_START_INSTRUMENTATION` and `CALLGRIND_STOP_INSTRUMENTATION` of valgrind's `callgrind.h`: the tool's two
/// letters and a number.
const TOOL: u64 = (b'C' as u64) << 24 | (b'T' as u64) << 16;
const START: u64 = TOOL + 4;
const STOP: u64 = TOOL + 5;

/// From here on instructions are counted.
pub fn start() {
    request(START);
}

/// Up to here instructions are counted.
pub fn stop() {
    request(STOP);
}

fn request(number: u64) {
    let arguments = [number, 0, 0, 0, 0, 0];
    // SAFETY: outside valgrind these instructions do nothing: the four rotations come to 128 bits, which leaves the register
    // as it was, and a register is exchanged with itself; only flags and rdx are changed, as is declared. Under valgrind the
    // sequence is a request, whose arguments are read from memory that outlives it, and whose answer goes to rdx.
    #[allow(unsafe_code)]
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            inout("rdx") 0_u64 => _,
            in("rax") arguments.as_ptr(),
            inout("rdi") 0_u64 => _,
        );
    }
}
