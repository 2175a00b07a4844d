//! Every pattern that is to be found and every one that is to be rejected.
