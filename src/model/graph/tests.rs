//! What the flat view says of small graphs.
