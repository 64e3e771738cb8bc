//! Simulated clock, network, disk and peers: one seed reproduces one run byte for byte.
