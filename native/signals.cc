// Which thread answers signals.

#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <initializer_list>
#include <thread>

namespace undistill {

// In oneDNN's kernels for products of matrices the stack pointer points, for a while, into memory of the heap. A signal that comes
// then has the kernel of the operating system write all registers, some 3 or 11 kilobytes, over what lies below. That is why neither
// the thread that calls operations nor any thread made after this takes signals that are sent to the process: one that does
// nothing else takes them. What a thread causes itself, such as a bad address, stays its own.
void AnswerSignalsElsewhere() {
  std::thread([] {
    for (;;) pause();
  }).detach();
  sigset_t others;
  sigfillset(&others);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) sigdelset(&others, own);
  pthread_sigmask(SIG_BLOCK, &others, nullptr);
  // V8's profiler interrupts the thread itself by SIGPROF, and is content with a stack for signals.
  static char memory[1 << 17];
  stack_t there;
  if (sigaltstack(nullptr, &there) != 0 || (there.ss_flags & SS_DISABLE) == 0) return;
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = sizeof(memory);
  sigaltstack(&stack, nullptr);
}

}  // namespace undistill
