// Layers of foreign checkpoints in safetensors files: bitsandbytes' and compressed-tensors' tensors, imported
// into our formats, decoded and exported again.
#include "fuzz.hpp"

#include <qlib/dequantize.hpp>
#include <qlib/file/bitsandbytes.hpp>
#include <qlib/file/compressed_tensors.hpp>
#include <qlib/file/safetensors.hpp>

#include <vector>

using namespace qlib;

namespace {

template <block_format F> void decode(const qmatrix<F>& m) {
    if (m.rows() * m.cols() > 1u << 14) return;  // 2 KB of 4-bit codes have 4096 weights, but rows may be empty
    std::vector<float> out(m.rows() * m.cols());
    require(dequantize<F>(m, {out.data(), m.rows(), m.cols()}, {.room = isa::portable}).ok());
}

template <class F> void read_bitsandbytes(const bitsandbytes_tensors& tensors) {
    const auto m = import_bitsandbytes<F>(tensors);
    if (!m) return;
    decode(*m);
    const auto parts = bitsandbytes_parts<F>(m->rows(), m->cols(), safetensors_type::f32);
    require(parts.has_value());
    for (std::size_t i = 0; i < parts->size(); ++i) {
        std::vector<std::byte> out(static_cast<std::size_t>((*parts)[i].bytes));
        static_cast<void>(export_bitsandbytes<F>(m->view(), safetensors_type::f32, i, out));
    }
}

template <class F> void read_pack_quantized(const pack_quantized_tensors& tensors, pack_layout layout) {
    if (const auto m = import_pack_quantized<F>(tensors, layout)) decode(*m);
}

}  // namespace

void fuzz(std::span<const std::byte> bytes) {
    const auto file = safetensors_file::parse(bytes);
    if (!file) return;
    bitsandbytes_tensors nf4_layer;
    require(find_bitsandbytes(*file, "l", nf4_layer).ok());
    read_bitsandbytes<nf4>(nf4_layer);
    read_bitsandbytes<nf4_dq>(nf4_layer);
    pack_quantized_tensors packed;
    require(find_pack_quantized(*file, "l", packed).ok());
    for (const pack_layout layout : {pack_layout::by_size, pack_layout::dense, pack_layout::whole_fields}) {
        read_pack_quantized<int4_g32>(packed, layout);
        read_pack_quantized<int4_g128_asym>(packed, layout);
        read_pack_quantized<int_format<int_spec{.bits = 3, .group = 32, .sym = symmetric}>>(packed, layout);
    }
}
