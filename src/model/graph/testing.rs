//! Small graphs for tests, written down node by node.
