// The requirements are those of tests/interop/getty/peer, one file for each version of getty.
module peer

go 1.20
