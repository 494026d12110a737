// The names of tensors in checkpoints and in GGUF files.
#include "../../common/tensor_names.hpp"

#include <doctest/doctest.h>

namespace {

/// "name", or "name[expert]".
std::string place(std::string_view name) {
    const auto p = gguf_place_of(name);
    if (!p) return "none";
    return p->expert ? p->name + "[" + std::to_string(*p->expert) + "]" : p->name;
}

}  // namespace

TEST_CASE("a checkpoint's tensors have their places in GGUF files") {
    CHECK(place("model.embed_tokens.weight") == "token_embd.weight");
    CHECK(place("lm_head.weight") == "output.weight");
    CHECK(place("model.layers.0.self_attn.q_proj.weight") == "blk.0.attn_q.weight");
    CHECK(place("model.layers.31.mlp.down_proj.weight") == "blk.31.ffn_down.weight");
    CHECK(place("model.language_model.layers.7.mlp.up_proj.weight") == "blk.7.ffn_up.weight");
    CHECK(place("model.layers.2.self_attn.kv_a_proj_with_mqa.weight") == "blk.2.attn_kv_a_mqa.weight");
    CHECK(place("model.layers.2.mlp.experts.63.gate_proj.weight") == "blk.2.ffn_gate_exps.weight[63]");
    CHECK(place("model.layers.2.block_sparse_moe.experts.1.w2.weight") == "blk.2.ffn_down_exps.weight[1]");
    CHECK(place("blk.3.ffn_up.5.weight") == "blk.3.ffn_up_exps.weight[5]");  // as older GGUF files have them

    for (const char* other :
         {"blk.3.ffn_up.weight", "model.layers.x.mlp.up_proj.weight", "model.layers.3", "model.layers.3.weight",
          "model.layers.3mlp.up_proj.weight", "model.layers.3.mlp.up_proj.bias", "transformer.h.0.attn.c_attn.weight",
          "model.layers.2.mlp.experts.up_proj.weight", "model.layers.2.mlp.experts.1.up_proj.x.weight",
          "model.layers.99999999999999999999999.mlp.up_proj.weight", "weight", ".weight", ""})
        CHECK_MESSAGE(place(other) == "none", other);
}

TEST_CASE("and back, in a Llama's spelling") {
    for (const char* weight :
         {"token_embd.weight", "output.weight", "output_norm.weight", "blk.0.attn_norm.weight", "blk.12.attn_q.weight",
          "blk.3.attn_output.weight", "blk.3.ffn_norm.weight", "blk.4.ffn_up.weight", "blk.4.ffn_down.weight"})
        CHECK(place(checkpoint_layer_of(weight) + ".weight") == weight);
    CHECK(checkpoint_layer_of("blk.3.ffn_down.weight") == "model.layers.3.mlp.down_proj");
    CHECK(checkpoint_layer_of("rope_freqs.weight") == "rope_freqs");
}
