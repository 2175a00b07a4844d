//! Asks a session where its nodes run. `ort` has no call for it yet, so ONNX Runtime's own is used.

use super::node_log::NodeLog;
use crate::engine::{Placement, Provider};
use ort::AsPointer;
use ort::session::Session;
use ort::sys::{OrtEpAssignedNode, OrtEpAssignedSubgraph, OrtStatusPtr};
use std::ffi::{CStr, c_char};
use std::{ptr, slice};

/// Entry of the session's configuration that has the placement recorded. It costs one small record for each node.
pub(super) const RECORD: &str = "session.record_ep_graph_assignment_info";

/// Where the nodes of a session run that was made for `provider`; empty where ONNX Runtime does not tell.
///
/// A provider that compiles whole parts of the graph leaves one node of each in the log, so its nodes are those that it
/// was assigned.
pub(super) fn of(session: &Session, provider: Provider, log: Option<&NodeLog>) -> Placement {
    let logged = log.map(NodeLog::take).unwrap_or_default();
    match provider {
        Provider::WebGpu | Provider::Cuda => logged,
        Provider::Cpu | Provider::TensorRt | Provider::DirectMl | Provider::CoreMl | Provider::OpenVino => {
            Placement::of(nodes(session).unwrap_or_default(), logged.copies)
        }
    }
}

/// Provider and operator of every node.
fn nodes(session: &Session) -> ort::Result<Vec<(String, String)>> {
    let api = ort::api();
    let mut nodes = Vec::new();
    let subgraphs: &[*const OrtEpAssignedSubgraph] =
        // SAFETY: the session lives, and the list lives as long as it.
        unsafe { list(|list, len| (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), list, len))? };
    for &subgraph in subgraphs {
        // SAFETY: the subgraph is one of the session's; so are its name and its nodes.
        let provider = unsafe { text(|out| (api.EpAssignedSubgraph_GetEpName)(subgraph, out))? };
        let of_subgraph: &[*const OrtEpAssignedNode] =
            // SAFETY: as above.
            unsafe { list(|list, len| (api.EpAssignedSubgraph_GetNodes)(subgraph, list, len))? };
        for &node in of_subgraph {
            // SAFETY: the node is one of the session's.
            let (domain, op) = unsafe {
                (
                    text(|out| (api.EpAssignedNode_GetDomain)(node, out))?,
                    text(|out| (api.EpAssignedNode_GetOperatorType)(node, out))?,
                )
            };
            let op = if matches!(domain.as_str(), "" | "ai.onnx") { op } else { format!("{domain}.{op}") };
            nodes.push((provider.clone(), op));
        }
    }
    Ok(nodes)
}

/// A list that ONNX Runtime keeps.
///
/// # Safety
/// `call` sets its arguments to a list and its length, or gives an error; the list lives for `'a`.
unsafe fn list<'a, T>(
    call: impl FnOnce(*mut *const *const T, *mut usize) -> OrtStatusPtr,
) -> ort::Result<&'a [*const T]> {
    let (mut list, mut len) = (ptr::null(), 0);
    // SAFETY: the status comes from ONNX Runtime, and nobody else takes it.
    unsafe { ort::Error::result_from_status(call(&raw mut list, &raw mut len)) }?;
    // SAFETY: as the caller promises; without elements the pointer may be null, which a slice may not.
    Ok(if len == 0 { &[] } else { unsafe { slice::from_raw_parts(list, len) } })
}

/// A text that ONNX Runtime keeps.
///
/// # Safety
/// `call` sets its argument to a text that ends with a zero byte, or gives an error.
unsafe fn text(call: impl FnOnce(*mut *const c_char) -> OrtStatusPtr) -> ort::Result<String> {
    let mut text = ptr::null();
    // SAFETY: the status comes from ONNX Runtime, and nobody else takes it.
    unsafe { ort::Error::result_from_status(call(&raw mut text)) }?;
    // SAFETY: as the caller promises.
    Ok(if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() })
}
