// SPDX-License-Identifier: Apache-2.0
// The filter is a program of the kernel's packet filter language over struct seccomp_data
// (linux/seccomp.h). Source: Documentation/userspace-api/seccomp_filter.rst of Linux.
#include "media/decoder/confinement.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <vector>

namespace quern {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsInstrumented = true;
#else
constexpr bool kIsInstrumented = false;
#endif

#if defined(__x86_64__)
constexpr uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArch = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kArch = 0;  // no filter
#endif

// What decoding is made of. `kill` and `tgkill` are not here: they reach other processes, too.
constexpr uint32_t kAllowed[] = {__NR_read,
                                 __NR_write,
                                 __NR_writev,
                                 __NR_munmap,
                                 __NR_mremap,
                                 __NR_madvise,
                                 __NR_brk,
                                 __NR_futex,
                                 __NR_clock_gettime,
                                 __NR_getrandom,
                                 __NR_rt_sigreturn,
                                 __NR_rt_sigprocmask,
                                 __NR_restart_syscall,
                                 __NR_sched_getaffinity,
                                 __NR_sysinfo,  // qsort asks how much memory there is
                                 __NR_exit,
                                 __NR_exit_group};
// Libraries look at files (/proc/cpuinfo) and go on without.
constexpr uint32_t kRefused[] = {__NR_openat,
                                 __NR_newfstatat,
                                 __NR_readlinkat,
                                 __NR_faccessat,
#if defined(__x86_64__)
                                 __NR_open,
                                 __NR_stat,
                                 __NR_access,
                                 __NR_readlink,
#endif
                                 __NR_fstat};
// Their third argument is a protection: never executable.
constexpr uint32_t kMapping[] = {__NR_mmap, __NR_mprotect};

sock_filter load(size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
sock_filter skip_unless_equal(uint32_t value, uint8_t count) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count);
}
sock_filter skip_unless_any_bit(uint32_t bits, uint8_t count) {
  return BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, count);
}
sock_filter end_with(uint32_t action) {
  return BPF_STMT(BPF_RET | BPF_K, action);
}

std::vector<sock_filter> make_filter() {
  std::vector<sock_filter> out = {load(offsetof(seccomp_data, arch)),
                                  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArch, 1, 0),
                                  end_with(SECCOMP_RET_KILL_PROCESS),
                                  load(offsetof(seccomp_data, nr))};
  for (const uint32_t call : kAllowed) {
    out.push_back(skip_unless_equal(call, 1));
    out.push_back(end_with(SECCOMP_RET_ALLOW));
  }
  for (const uint32_t call : kRefused) {
    out.push_back(skip_unless_equal(call, 1));
    out.push_back(end_with(SECCOMP_RET_ERRNO | EACCES));
  }
  for (const uint32_t call : kMapping) {
    out.push_back(skip_unless_equal(call, 4));
    out.push_back(load(offsetof(seccomp_data, args) + 2 * sizeof(uint64_t)));  // its low half
    out.push_back(skip_unless_any_bit(PROT_EXEC, 1));
    out.push_back(end_with(SECCOMP_RET_KILL_PROCESS));
    out.push_back(end_with(SECCOMP_RET_ALLOW));
  }
  out.push_back(end_with(SECCOMP_RET_KILL_PROCESS));
  return out;
}

bool set_filter() {
  if (kArch == 0) return false;
  std::vector<sock_filter> filter = make_filter();
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

void set_limit(__rlimit_resource_t what, rlim_t value) {
  const rlimit limit{value, value};
  setrlimit(what, &limit);  // what is refused stays as tight as it was
}

rlim_t address_space() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  if (!(file >> pages)) pages = (rlim_t{4} << 30) / static_cast<rlim_t>(getpagesize());
  return pages * static_cast<rlim_t>(getpagesize());
}

}  // namespace

bool confine_process(size_t memory_bytes) {
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  set_limit(RLIMIT_CORE, 0);
  if (kIsInstrumented) return false;
  // Large blocks go back to the system one by one, so that a long life leaves no holes.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  set_limit(RLIMIT_AS, address_space() + memory_bytes);
  set_limit(RLIMIT_FSIZE, 0);
  set_limit(RLIMIT_NPROC, 0);
  set_limit(RLIMIT_NOFILE, 0);
  return set_filter();
}

}  // namespace quern
