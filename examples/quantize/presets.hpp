#pragma once
// llama.cpp's presets: which type each tensor of a model gets when the model as a whole is to be "Q4_K_M". The rules
// stand here as short functions of names and counts; they read no file. Source: llama.cpp, llama-quant.cpp.
#include "../common/printable.hpp"
#include "ggml_formats.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <stdexcept>

/// A preset; the numbers of general.file_type.
enum class preset : std::uint32_t {
    q4_0 = 2,
    q4_1 = 3,
    q8_0 = 7,
    q5_0 = 8,
    q5_1 = 9,
    q2_k = 10,
    q3_k_s = 11,
    q3_k_m = 12,
    q3_k_l = 13,
    q4_k_s = 14,
    q4_k_m = 15,
    q5_k_s = 16,
    q5_k_m = 17,
    q6_k = 18,
    iq2_xxs = 19,
    iq2_xs = 20,
    q2_k_s = 21,
    iq3_xs = 22,
    iq3_xxs = 23,
    iq1_s = 24,
    iq4_nl = 25,
    iq3_s = 26,
    iq3_m = 27,
    iq2_s = 28,
    iq2_m = 29,
    iq4_xs = 30,
    iq1_m = 31,
    tq1_0 = 36,
    tq2_0 = 37,
    mxfp4_moe = 38,
    q1_0 = 40,
    q2_0 = 41,
};

struct preset_info {
    std::string_view name;
    preset id;
    ggml base;  ///< the type of every tensor that no rule speaks of
};

inline constexpr preset_info presets[] = {
    {"Q4_0", preset::q4_0, ggml::q4_0},       {"Q4_1", preset::q4_1, ggml::q4_1},
    {"Q5_0", preset::q5_0, ggml::q5_0},       {"Q5_1", preset::q5_1, ggml::q5_1},
    {"Q8_0", preset::q8_0, ggml::q8_0},       {"Q2_K", preset::q2_k, ggml::q2_k},
    {"Q2_K_S", preset::q2_k_s, ggml::q2_k},   {"Q3_K_S", preset::q3_k_s, ggml::q3_k},
    {"Q3_K_M", preset::q3_k_m, ggml::q3_k},   {"Q3_K_L", preset::q3_k_l, ggml::q3_k},
    {"Q4_K_S", preset::q4_k_s, ggml::q4_k},   {"Q4_K_M", preset::q4_k_m, ggml::q4_k},
    {"Q5_K_S", preset::q5_k_s, ggml::q5_k},   {"Q5_K_M", preset::q5_k_m, ggml::q5_k},
    {"Q6_K", preset::q6_k, ggml::q6_k},       {"IQ1_S", preset::iq1_s, ggml::iq1_s},
    {"IQ1_M", preset::iq1_m, ggml::iq1_m},    {"IQ2_XXS", preset::iq2_xxs, ggml::iq2_xxs},
    {"IQ2_XS", preset::iq2_xs, ggml::iq2_xs}, {"IQ2_S", preset::iq2_s, ggml::iq2_xs},
    {"IQ2_M", preset::iq2_m, ggml::iq2_s},    {"IQ3_XXS", preset::iq3_xxs, ggml::iq3_xxs},
    {"IQ3_XS", preset::iq3_xs, ggml::iq3_s},  {"IQ3_S", preset::iq3_s, ggml::iq3_s},
    {"IQ3_M", preset::iq3_m, ggml::iq3_s},    {"IQ4_NL", preset::iq4_nl, ggml::iq4_nl},
    {"IQ4_XS", preset::iq4_xs, ggml::iq4_xs}, {"TQ1_0", preset::tq1_0, ggml::tq1_0},
    {"TQ2_0", preset::tq2_0, ggml::tq2_0},    {"MXFP4_MOE", preset::mxfp4_moe, ggml::mxfp4},
    {"Q1_0", preset::q1_0, ggml::q1_0},       {"Q2_0", preset::q2_0, ggml::q2_0},
};

inline const preset_info& info_of(preset id) { return *std::ranges::find(presets, id, &preset_info::id); }

/// A tensor, as far as the rules look at it.
struct tensor_shape {
    std::string name;
    std::array<std::uint64_t, 4> ne{1, 1, 1, 1};  ///< the row length first
    [[nodiscard]] std::uint64_t cols() const { return ne[0]; }
    [[nodiscard]] std::uint64_t rows() const { return ne[1] * ne[2] * ne[3]; }
    [[nodiscard]] std::uint64_t weights() const { return cols() * rows(); }
};

/// A count that rules divide, multiply or count up to, from foreign metadata. error: one that no model has
inline std::int64_t checked_count(const std::string& key, std::uint64_t n, std::int64_t most) {
    if (n > static_cast<std::uint64_t>(most))
        throw std::runtime_error(key + ": " + std::to_string(n) + ", it must be from 0 to " + std::to_string(most));
    return static_cast<std::int64_t>(n);
}

/// A model, as far as the rules look at it; from its metadata.
struct model_facts {
    static constexpr std::int64_t most_layers = 1 << 16, most_experts = 1 << 16,
                                  most_heads = 1 << 20;  // as in check_gguf_model()

    std::string architecture;
    std::int64_t layers = 0, experts = 0;
    std::int64_t heads = 0, kv_heads = 0;  ///< of the first layer
    bool has_imatrix = false;

    /// error: a number that is negative or too large to reckon with
    void check() const {
        const auto count = [&](const char* key, std::int64_t n, std::int64_t most) {
            static_cast<void>(checked_count(architecture + key, static_cast<std::uint64_t>(n), most));
        };
        count(".block_count", layers, most_layers);
        count(".expert_count", experts, most_experts);
        count(".attention.head_count", heads, most_heads);
        count(".attention.head_count_kv", kv_heads, most_heads);
    }

    /// Heads of queries to one of keys and values.
    [[nodiscard]] std::int64_t gqa() const { return kv_heads != 0 ? heads / kv_heads : 0; }
    /// What llama.cpp's loader takes for a model of 70B weights.
    [[nodiscard]] bool is_70b() const {
        if (layers != 80) return false;
        return architecture == "llama" ? heads != kv_heads : architecture == "qwen2" || architecture == "deci";
    }
};

/// The layer number in "blk.12.attn_q.weight"; -1 where there is none.
inline std::int64_t layer_of(std::string_view name) {
    constexpr std::string_view prefix = "blk.";
    std::int64_t layer = -1;
    if (name.starts_with(prefix)) std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
    return layer;
}

/// The order in which llama.cpp writes tensors, which is also the order that the rules count in.
inline bool stands_before(std::string_view a, std::string_view b) {
    const std::int64_t layer_a = layer_of(a), layer_b = layer_of(b);
    return layer_a != layer_b ? layer_a < layer_b : a < b;
}

/// Roles that rules speak of. Those of the value projection's kind, fused ones included, are one.
enum class role { output, token_embedding, attn_v, attn_k, attn_q, attn_output, ffn_up, ffn_gate, ffn_down, other };

inline role role_of(std::string_view name) {
    const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
    if (name == "output.weight") return role::output;
    if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") return role::token_embedding;
    if (has("attn_qkv.weight") || has("attn_kv_b.weight") || has("attn_v.weight")) return role::attn_v;
    if (has("attn_k.weight")) return role::attn_k;
    if (has("attn_q.weight")) return role::attn_q;
    if (has("attn_output.weight")) return role::attn_output;
    if (has("ffn_up")) return role::ffn_up;
    if (has("ffn_gate")) return role::ffn_gate;
    if (has("ffn_down")) return role::ffn_down;
    return role::other;
}

/// Chooses a type for one tensor after the other, in the order of stands_before.
class preset_rules {
public:
    /// `tensors`: all of the model, also those that choose() is never asked about. error: model.check()'s
    preset_rules(preset p, const model_facts& model, std::span<const tensor_shape> tensors)
        : preset_(p),
          base_(info_of(p).base),
          model_(model),
          falcon_(model.architecture == "falcon") {
        model.check();
        for (const tensor_shape& t : tensors) {
            values_ += role_of(t.name) == role::attn_v;
            tied_ &= role_of(t.name) != role::output;
        }
    }

    ggml choose(const tensor_shape& t) {
        const role r = role_of(t.name);
        if (r == role::output || (r == role::token_embedding && tied_)) return output(t);
        if (is(preset::mxfp4_moe)) return t.ne[2] > 1 ? ggml::mxfp4 : ggml::q8_0;
        if (r == role::token_embedding) return token_embedding();
        if (is_below_3_bits()) return choose_below_3_bits(r);
        switch (r) {
        case role::attn_v: return attn_v(value_++);
        case role::attn_k: return eight_experts() ? ggml::q8_0 : attn_q();
        case role::attn_q: return attn_q();
        case role::attn_output: return attn_output();
        case role::ffn_down: return ffn_down(layer(t, down_++));
        case role::ffn_gate: return ffn_gate_or_up(layer(t, gate_++));
        case role::ffn_up: return ffn_gate_or_up(layer(t, up_++));
        default: return base_;
        }
    }

private:
    template <class... P> [[nodiscard]] bool is(P... any) const { return ((preset_ == any) || ...); }
    [[nodiscard]] bool is_below_3_bits() const {
        return is(preset::iq1_s, preset::iq1_m, preset::iq2_xxs, preset::iq2_xs, preset::iq2_s, preset::iq2_m);
    }
    [[nodiscard]] bool eight_experts() const { return model_.experts == 8; }
    [[nodiscard]] bool shares_values() const { return model_.gqa() >= 4; }
    /// Whether layer i of n is one of the first eighth, the last eighth, or every third between.
    static bool gets_more_bits(std::int64_t i, std::int64_t n) {
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    }

    /// A feed-forward tensor's layer: how many came before, unless experts come several to a layer.
    [[nodiscard]] std::int64_t layer(const tensor_shape& t, std::int64_t before) const {
        if (model_.experts <= 1) return before;
        const std::int64_t named = layer_of(t.name);
        if (named < 0 || named >= model_.layers)
            throw std::runtime_error(printable(t.name) + ": the preset's rule for experts needs a layer from 0 to " +
                                     std::to_string(model_.layers - 1));
        return named;
    }

    [[nodiscard]] ggml output(const tensor_shape& t) const {
        if (is(preset::mxfp4_moe) || falcon_ || !fits(base_, t.cols())) return ggml::q8_0;
        if (is_below_3_bits() || is(preset::iq3_xxs)) return ggml::q5_k;
        return base_ == ggml::q8_0 ? base_ : ggml::q6_k;
    }
    [[nodiscard]] ggml token_embedding() const {
        if (is(preset::iq2_xxs, preset::iq2_xs, preset::iq1_s, preset::iq1_m)) return ggml::q2_k;
        if (is(preset::iq2_s, preset::iq2_m, preset::iq3_xxs)) return ggml::iq3_s;
        if (is(preset::tq1_0, preset::tq2_0, preset::q2_0)) return ggml::q4_k;
        return base_;
    }
    ggml choose_below_3_bits(role r) {
        const ggml more = is(preset::iq2_s, preset::iq2_m) ? ggml::iq3_s : ggml::q2_k;
        if (r == role::attn_v) return shares_values() || model_.experts >= 4 ? ggml::q4_k : more;
        if (r == role::attn_k && eight_experts()) return ggml::q4_k;
        if (r == role::ffn_down) return down_++ < model_.layers / 8 ? more : base_;
        if (r != role::attn_output) return base_;
        if (eight_experts()) return ggml::q5_k;
        if (is(preset::iq1_s, preset::iq1_m)) return ggml::iq2_xxs;
        return is(preset::iq2_s, preset::iq2_m) ? ggml::iq3_s : base_;
    }
    [[nodiscard]] ggml attn_v(std::int64_t i) const {
        if (eight_experts()) return ggml::q8_0;
        const ggml type = attn_v_of_few_experts(i);
        return model_.is_70b() && (type == ggml::q3_k || type == ggml::q4_k) ? ggml::q5_k : type;
    }
    [[nodiscard]] ggml attn_v_of_few_experts(std::int64_t i) const {
        if (is(preset::q2_k)) return shares_values() ? ggml::q4_k : ggml::q3_k;
        if (is(preset::iq3_xxs)) return shares_values() ? ggml::q4_k : model_.has_imatrix ? ggml::iq3_xxs : ggml::iq3_s;
        if (is(preset::q2_k_s, preset::iq3_xs, preset::iq3_s)) return shares_values() ? ggml::q4_k : base_;
        if (is(preset::iq3_m)) return ggml::q4_k;
        if (is(preset::q3_k_m)) return i < 2 ? ggml::q5_k : ggml::q4_k;
        if (is(preset::q3_k_l)) return ggml::q5_k;
        if (is(preset::iq4_nl, preset::iq4_xs)) return shares_values() ? ggml::q5_k : base_;
        if (is(preset::q4_k_m, preset::q5_k_m)) return gets_more_bits(i, values_) ? ggml::q6_k : base_;
        if (is(preset::q4_k_s)) return i < 4 ? ggml::q5_k : base_;
        return base_;
    }
    [[nodiscard]] ggml attn_q() const {
        if (is(preset::iq3_xs)) return ggml::iq3_xxs;
        return is(preset::iq3_xxs) ? ggml::iq2_s : base_;
    }
    [[nodiscard]] ggml attn_output() const {
        if (falcon_) return is(preset::q3_k_l) ? ggml::q4_k : base_;
        if (eight_experts())
            return is(preset::q2_k, preset::q3_k_s, preset::q3_k_m, preset::q4_k_s, preset::q4_k_m, preset::iq3_xxs,
                      preset::iq3_xs, preset::iq3_s, preset::iq3_m, preset::iq4_nl, preset::iq4_xs)
                       ? ggml::q5_k
                       : base_;
        if (is(preset::q2_k)) return ggml::q3_k;
        if (is(preset::iq3_xxs)) return ggml::iq3_s;
        if (is(preset::q3_k_m, preset::iq3_m)) return ggml::q4_k;
        return is(preset::q3_k_l) ? ggml::q5_k : base_;
    }
    [[nodiscard]] ggml ffn_down(std::int64_t i) const {
        const std::int64_t n = model_.layers;
        const bool early = i < n / 8, more = gets_more_bits(i, n);
        if (is(preset::q2_k)) return ggml::q3_k;
        if (is(preset::q2_k_s)) return early ? ggml::q4_k : base_;
        if (is(preset::iq3_xxs) && !model_.has_imatrix) return early ? ggml::q4_k : ggml::q3_k;
        if (is(preset::q3_k_m)) return i < n / 16 ? ggml::q5_k : !falcon_ || more ? ggml::q4_k : ggml::q3_k;
        if (is(preset::iq3_m)) return early || (eight_experts() && more) ? ggml::q4_k : base_;
        if (is(preset::q3_k_l)) return falcon_ ? ggml::q4_k : ggml::q5_k;
        if (is(preset::q4_k_m) && falcon_) return i < n / 16 ? ggml::q6_k : more ? ggml::q5_k : ggml::q4_k;
        if (is(preset::q4_k_m, preset::q5_k_m)) return more ? ggml::q6_k : base_;
        if (!early) return base_;
        if (is(preset::iq4_nl, preset::iq4_xs) && !model_.has_imatrix) return ggml::q5_k;
        if (is(preset::q4_k_s) && !falcon_) return ggml::q5_k;
        // With an imatrix a few early layers can go wild in a format without offsets.
        if (is(preset::q4_0) && model_.has_imatrix) return ggml::q4_1;
        if (is(preset::q5_0) && model_.has_imatrix) return ggml::q5_1;
        return base_;
    }
    [[nodiscard]] ggml ffn_gate_or_up(std::int64_t i) const {
        const std::int64_t n = model_.layers;
        return is(preset::iq3_xs) && i >= n / 8 && i < 7 * n / 8 ? ggml::iq3_xxs : base_;
    }

    preset preset_;
    ggml base_;
    model_facts model_;
    bool falcon_, tied_ = true;
    std::int64_t values_ = 0;                                // tensors of role attn_v in the model
    std::int64_t value_ = 0, down_ = 0, gate_ = 0, up_ = 0;  // of those roles, how many came already
};

/// Whether a type is garbage without an imatrix, so that llama.cpp refuses to go on.
inline bool needs_imatrix(const tensor_shape& t, ggml type, std::optional<preset> p) {
    const role r = role_of(t.name);
    if (r == role::output || r == role::token_embedding) return false;
    switch (type) {
    case ggml::iq3_xxs:
    case ggml::iq2_xxs:
    case ggml::iq2_xs:
    case ggml::iq2_s:
    case ggml::iq1_m:
    case ggml::iq1_s: return true;
    default: return type == ggml::q2_k && p == preset::q2_k_s;
    }
}
