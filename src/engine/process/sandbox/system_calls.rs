//! The system calls that a worker is denied. They fail with "not permitted" instead of ending the process, since native
//! code asks for some of them only to see whether it can.
//!
//! A list of what is allowed would be stricter, but it would break with every new version of the C library, of ONNX
//! Runtime and of graphics drivers.

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// Denied with whatever arguments.
const DENIED: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Sockets, and the ring that opens them behind this filter's back.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    // The system.
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[c_long] = &[];

/// Locks this process in; there is no way back.
///
/// # Errors
/// When the kernel or the processor's architecture has no seccomp.
pub(super) fn restrict() -> Result<(), seccompiler::Error> {
    // A program that must not be seen by older kernels as an unknown architecture is compiled for this one alone.
    apply_filter_all_threads(&program(denied()?, libc::EPERM)?)?;
    // Its arguments lie behind a pointer, which no filter can follow; the C library falls back to `clone`.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply_filter_all_threads(&program(clone3, libc::ENOSYS)?)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn denied() -> Result<Rules, BackendError> {
    let pid = std::process::id();
    let mut rules: Rules = DENIED.iter().chain(DENIED_HERE).map(|&call| (call, Vec::new())).collect();
    // Threads are made, processes are not.
    let no_thread = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpArgLen::Qword, no_thread, 0)?]);
    // `abort` signals its own process; nobody else is to be.
    rules.insert(libc::SYS_tgkill, vec![rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(pid))?]);
    rules.insert(libc::SYS_prlimit64, vec![rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?]);
    Ok(rules)
}

fn rule(arg: u8, len: SeccompCmpArgLen, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(arg, len, op, value)?])
}

fn program(denied: Rules, errno: i32) -> Result<BpfProgram, seccompiler::Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let deny = SeccompAction::Errno(errno.cast_unsigned());
    Ok(SeccompFilter::new(denied, SeccompAction::Allow, deny, arch)?.try_into()?)
}
