// No #pragma once: each room includes this text at its end. All that is compiled once per room; `.inl` means this and
// nothing else. What a text needs of a room it knows by the vocabulary alone.
#include "../format/map.inl"
#include "../format/range.inl"
#include "../encode/plain.inl"
#include "../encode/ggml_search.inl"
#include "../encode/ggml_blocks.inl"
#include "../encode/search.inl"
#include "../encode/search_outer.inl"
#include "../encode/pack_codes.inl"
#include "../encode/numbers.inl"
#include "../encode/blocks.inl"
#include "../kernel/decode.inl"
#include "../kernel/gemm.inl"
#include "../kernel/dot.inl"
#include "../encode/lattice_nearest.inl"
#include "../encode/lattice_search.inl"
#include "../linalg/rows.inl"
#if defined(__clang__)
#pragma clang diagnostic pop  // pushed in vectors.inl
#endif
