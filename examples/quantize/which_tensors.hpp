#pragma once
// Which tensors of a GGUF model are weights to be quantized, by llama.cpp's rule: a
// loader expects the others as floats.
#include <cstdint>
#include <string_view>

/// Whether a tensor is a matrix, or a stack of them, whose name ends in "weight" and is none of the small and sensitive
/// ones. Source: llama.cpp, llama-quant.cpp, tensor_allows_quantization.
inline bool is_quantizable(std::string_view name, std::uint64_t rows) {
    static constexpr std::string_view kept[] = {
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",  // routers of experts
        "position_embd",
        "token_types.weight",
        "attn_rel_b.weight",  // BERT, T5
        "altup",
        "laurel",
        "per_layer_model_proj",  // Gemma 3n
        "ssm_conv1d",
        "shortconv.conv.weight",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",  // RWKV
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "sam.pos_embd",
        "sam.neck.",
        "sam.net_",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
        "a.rvq.codebook",
        "mm.a.code_embd",
    };
    if (rows < 2 || !name.ends_with("weight")) return false;
    for (const std::string_view part : kept)
        if (name.find(part) != std::string_view::npos) return false;
    return true;
}

/// Whether a tensor is one of the two factors of an adapter's (LoRA's) change to a weight.
inline bool is_adapter_matrix(std::string_view name, std::uint64_t rows) {
    return rows >= 2 && (name.ends_with(".lora_a") || name.ends_with(".lora_b"));
}
