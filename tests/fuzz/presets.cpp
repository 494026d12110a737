// The rules of examples/quantize by which the tensors of a foreign file get their types: any names,
// shapes and numbers of metadata, any preset and any pattern. Each tensor gets a type whose blocks fill
// its rows, or the whole is refused with a text.
#include "fuzz.hpp"

#include "../../examples/quantize/tensor_types.hpp"

#include <stdexcept>
#include <vector>

namespace {

/// Takes values from the input until it is used up, then zeros.
struct taker {
    std::span<const std::byte> bytes;

    std::uint64_t number(std::size_t size) {
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < size && !bytes.empty(); ++i, bytes = bytes.subspan(1))
            n |= static_cast<std::uint64_t>(bytes[0]) << (8 * i);
        return n;
    }
    /// Small, or any number of 64 bits.
    std::int64_t count() {
        const std::uint64_t first = number(1);
        return static_cast<std::int64_t>(first < 0xF0 ? first : number(8));
    }
    std::string text() {
        std::string s;
        for (std::size_t left = number(1); left != 0 && !bytes.empty(); --left) s += static_cast<char>(number(1));
        return s;
    }
    /// A name of a tensor that rules speak of, or any.
    std::string name() {
        static constexpr const char* parts[] = {"attn_q",       "attn_k",       "attn_v",   "attn_qkv", "attn_kv_b",
                                                "attn_output",  "ffn_up",       "ffn_gate", "ffn_down", "ffn_down_exps",
                                                "ffn_up_shexp", "ffn_gate_inp", "attn_norm"};
        const std::uint64_t kind = number(1);
        if (kind < 2) return kind == 0 ? "output.weight" : "token_embd.weight";
        if (kind < 32) return text();
        return "blk." + std::to_string(count()) + "." + parts[kind % std::size(parts)] + ".weight";
    }
    tensor_shape tensor() {
        tensor_shape t;
        t.name = name();
        for (std::uint64_t& n : t.ne) n = number(2);  // the product fits 64 bits, as the reader makes sure
        return t;
    }
};

model_facts take_facts(taker& in) {
    static constexpr const char* architectures[] = {"llama", "falcon", "qwen2", "deci", ""};
    model_facts facts;
    facts.architecture = architectures[in.number(1) % std::size(architectures)];
    for (std::int64_t* n : {&facts.layers, &facts.experts, &facts.heads, &facts.kv_heads}) *n = in.count();
    facts.has_imatrix = in.number(1) % 2 != 0;
    return facts;
}

/// Patterns of any bytes are read, or refused; they match in time that is bounded.
void take_override(taker& in, type_request& request) {
    const std::string text = in.text();
    try {
        request.overrides.push_back(
            {text, name_pattern(text), in.number(1) % 2 != 0 ? std::optional(ggml::q6_k) : std::nullopt});
    } catch (const std::invalid_argument& e) {
        touch_text(std::string_view(e.what()));
    }
}

}  // namespace

void fuzz(std::span<const std::byte> bytes) {
    taker in{bytes};
    const model_facts facts = take_facts(in);
    const preset_info& chosen = presets[in.number(1) % std::size(presets)];
    type_request request{chosen.base, chosen.id, in.number(1) % 8 == 0, {}};
    for (std::size_t rules = in.number(1) % 4; rules != 0; --rules) take_override(in, request);
    std::vector<tensor_shape> tensors;
    while (!in.bytes.empty() && tensors.size() < 100) tensors.push_back(in.tensor());
    std::ranges::sort(tensors, stands_before, &tensor_shape::name);
    try {
        const std::vector<type_choice> choices = choose_types(tensors, facts, request);
        require(choices.size() == tensors.size());
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            if (choices[i].why == reason::kept) continue;
            require(fits(choices[i].type, tensors[i].cols()));
            static_cast<void>(needs_imatrix(tensors[i], choices[i].type, request.recipe));
        }
    } catch (const std::runtime_error& e) {
        touch_text(std::string_view(e.what()));
    }
}
