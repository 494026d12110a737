#pragma once
// The architectures whose linear layers are known: which modules they are, and how their weights lie.
//
// source: the modules of transformers' modeling files; model_type is that of config.json
#include <string_view>

/// Lists are words with spaces between them. Module paths are compared from their end; "#" is any number.
struct architecture {
    std::string_view types;   ///< model_type, one or several
    std::string_view linear;  ///< beside the sure names
    std::string_view floats = {};  ///< linear layers whose weights its loaders or kernels take as floats
    bool input_first = false;      ///< Conv1D: a matrix lies as inputs x outputs, transposed against a Linear's
    bool splits_experts = false;   ///< loaders look for experts in one tensor one by one, once they are quantized
};

namespace layers {

/// Projections that no architecture uses for anything but a linear layer.
inline constexpr std::string_view sure_names =
    "q_proj k_proj v_proj o_proj qkv_proj gate_proj up_proj down_proj gate_up_proj";

inline constexpr architecture architectures[] = {
    {.types = "llama mistral ministral ministral3 mistral3 qwen2 qwen3 gemma gemma2 gemma3 gemma3_text gemma3n_text "
              "stablelm olmo olmo2 olmo3 smollm3 granite cohere cohere2 exaone4 seed_oss nemotron helium arcee apertus "
              "minicpm glm glm4 phi3 ernie4_5 hunyuan_v1_dense internlm3 mllama_text_model deci qwen2_vl qwen2_vl_text "
              "qwen2_5_vl qwen2_5_vl_text qwen3_vl_text",
     .linear = ""},
    {.types = "olmoe qwen2_moe qwen3_moe qwen3_vl_moe_text glm4_moe dots1 ernie4_5_moe minimax_m2 gpt_oss",
     .linear = ""},
    {.types = "deepseek_v2 deepseek_v3 kimi_k2 minicpm3 longcat_flash glm4_moe_lite",
     .linear = "self_attn.q_a_proj self_attn.q_b_proj self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj"},
    {.types = "mixtral phimoe minimax",
     .linear = "block_sparse_moe.experts.#.w1 block_sparse_moe.experts.#.w2 block_sparse_moe.experts.#.w3"},
    {.types = "arctic",
     .linear = "block_sparse_moe.experts.#.w1 block_sparse_moe.experts.#.w2 block_sparse_moe.experts.#.w3 "
               "residual_mlp.w1 residual_mlp.w2 residual_mlp.w3"},
    {.types = "llama4 llama4_text", .linear = "", .splits_experts = true},
    {.types = "granitemoe granitemoeshared granitemoehybrid",
     .linear = "shared_mlp.input_linear shared_mlp.output_linear mamba.in_proj",
     .floats = "mamba.out_proj"},
    {.types = "qwen3_next qwen3_5_text qwen3_5_moe_text",
     .linear = "linear_attn.in_proj_qkvz linear_attn.in_proj_qkv linear_attn.in_proj_z linear_attn.out_proj"},
    {.types = "lfm2 lfm2_moe",
     .linear = "self_attn.out_proj feed_forward.w1 feed_forward.w2 feed_forward.w3 feed_forward.experts.#.w1 "
               "feed_forward.experts.#.w2 feed_forward.experts.#.w3 conv.in_proj conv.out_proj"},
    {.types = "jamba bamba falcon_h1",
     .linear = "mamba.in_proj",
     .floats = "mamba.out_proj mamba.x_proj mamba.dt_proj"},
    {.types = "mamba mamba2 falcon_mamba nemotron_h",
     .linear = "mixer.in_proj",
     .floats = "mixer.out_proj mixer.x_proj mixer.dt_proj"},
    {.types = "internlm2", .linear = "attention.wqkv attention.wo feed_forward.w1 feed_forward.w2 feed_forward.w3"},
    {.types = "starcoder2", .linear = "mlp.c_fc mlp.c_proj"},
    {.types = "phi", .linear = "self_attn.dense mlp.fc1 mlp.fc2"},
    {.types = "persimmon",
     .linear = "self_attn.query_key_value self_attn.dense mlp.dense_h_to_4h mlp.dense_4h_to_h"},
    {.types = "gpt_neox", .linear = "attention.query_key_value attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h"},
    {.types = "bloom falcon chatglm RefinedWeb RefinedWebModel",
     .linear = "self_attention.query_key_value self_attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h"},
    {.types = "gptj codegen", .linear = "attn.out_proj mlp.fc_in mlp.fc_out"},
    {.types = "gpt_neo", .linear = "attn.attention.out_proj mlp.c_fc mlp.c_proj"},
    {.types = "exaone", .linear = "attn.attention.out_proj mlp.c_fc_0 mlp.c_fc_1 mlp.c_proj"},
    {.types = "gpt_bigcode", .linear = "attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj"},
    {.types = "gpt2 openai-gpt imagegpt decision_transformer jais",
     .linear = "attn.c_attn attn.c_proj mlp.c_fc mlp.c_fc2 mlp.c_proj crossattention.c_attn crossattention.q_attn "
               "crossattention.c_proj",
     .input_first = true},
    {.types = "qwen", .linear = "attn.c_attn attn.c_proj mlp.w1 mlp.w2 mlp.c_proj"},
    {.types = "baichuan", .linear = "self_attn.W_pack"},
    {.types = "mpt dbrx", .linear = "attn.Wqkv attn.out_proj"},
    {.types = "opt xglm biogpt", .linear = "self_attn.out_proj fc1 fc2"},
    {.types = "bart mbart marian pegasus m2m_100 blenderbot plbart whisper",
     .linear = "self_attn.out_proj encoder_attn.out_proj fc1 fc2"},
    {.types = "clip siglip clip_text_model", .linear = "self_attn.out_proj mlp.fc1 mlp.fc2"},
    {.types = "bert roberta xlm-roberta camembert electra ernie bert-generation",
     .linear = "attention.self.query attention.self.key attention.self.value attention.output.dense "
               "intermediate.dense output.dense"},
    {.types = "vit deit beit",
     .linear = "attention.attention.query attention.attention.key attention.attention.value attention.output.dense "
               "intermediate.dense output.dense"},
    {.types = "mpnet",
     .linear = "attention.attn.q attention.attn.k attention.attn.v attention.attn.o intermediate.dense output.dense"},
    {.types = "distilbert",
     .linear = "attention.q_lin attention.k_lin attention.v_lin attention.out_lin ffn.lin1 ffn.lin2"},
    {.types = "modernbert", .linear = "attn.Wqkv attn.Wo mlp.Wi mlp.Wo"},
    {.types = "t5 mt5 umt5 longt5",
     .linear = "SelfAttention.q SelfAttention.k SelfAttention.v SelfAttention.o LocalSelfAttention.q "
               "LocalSelfAttention.k LocalSelfAttention.v LocalSelfAttention.o EncDecAttention.q EncDecAttention.k "
               "EncDecAttention.v EncDecAttention.o DenseReluDense.wi DenseReluDense.wi_0 DenseReluDense.wi_1",
     .floats = "DenseReluDense.wo"},
};

}  // namespace layers
