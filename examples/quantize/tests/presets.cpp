// The presets' rules, by dry run over the tensor lists of models of every kind. What is expected was written down from
// the rules as llama.cpp publishes them; llama_cpp_types.py compares the same choices with llama.cpp's own.
#include "../tensor_types.hpp"

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <map>
#include <set>
#include <tuple>

namespace {

using layers = std::set<std::int64_t>;

struct model {
    model_facts facts;
    std::vector<tensor_shape> tensors;

    model(std::string architecture, std::int64_t layer_count, std::int64_t heads, std::int64_t kv_heads,
          std::uint64_t width = 4096)
        : width_(width) {
        facts.architecture = std::move(architecture);
        facts.layers = layer_count;
        facts.heads = heads;
        facts.kv_heads = kv_heads;
        add("token_embd.weight");
        add("output_norm.weight", 1);
        for (std::int64_t i = 0; i < layer_count; ++i) add_attention("blk." + std::to_string(i) + ".");
    }
    model& untied() { return add("output.weight"), *this; }
    model& dense() {
        for (std::int64_t i = 0; i < facts.layers; ++i)
            for (const char* part : {"ffn_gate", "ffn_up", "ffn_down"})
                add("blk." + std::to_string(i) + "." + part + ".weight");
        return *this;
    }
    model& experts(std::int64_t count) {
        facts.experts = count;
        for (std::int64_t i = 0; i < facts.layers; ++i) {
            const std::string layer = "blk." + std::to_string(i) + ".";
            for (const char* part : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"})
                add(layer + part + ".weight", 8, static_cast<std::uint64_t>(count));
            add(layer + "ffn_down_shexp.weight");  // one more in each layer: would be counted twice
            add(layer + "ffn_gate_inp.weight");
        }
        return *this;
    }
    model& fused_values() {
        for (tensor_shape& t : tensors)
            if (const auto at = t.name.find("attn_v.weight"); at != std::string::npos)
                t.name.replace(at, 6, "attn_qkv");
        return *this;
    }
    model& with_imatrix() { return facts.has_imatrix = true, *this; }
    model& add(const std::string& name, std::uint64_t rows = 8, std::uint64_t depth = 1) {
        tensors.push_back({name, {width_, rows, depth, 1}});
        return *this;
    }

    /// Types by name; what is kept is missing.
    std::map<std::string, ggml> types(const type_request& request) {
        std::ranges::sort(tensors, stands_before, &tensor_shape::name);
        const auto choices = choose_types(tensors, facts, request);
        std::map<std::string, ggml> types;
        for (std::size_t i = 0; i < tensors.size(); ++i)
            if (choices[i].why != reason::kept) types[tensors[i].name] = choices[i].type;
        return types;
    }
    std::map<std::string, ggml> types(preset p) { return types({info_of(p).base, p, false, {}}); }

    /// How many tensors have which type.
    std::map<ggml, int> counts(preset p) {
        std::map<ggml, int> counts;
        for (const auto& [name, type] : types(p)) ++counts[type];
        return counts;
    }

private:
    void add_attention(const std::string& layer) {
        for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_output"}) add(layer + part + ".weight");
        add(layer + "attn_norm.weight", 1);
    }
    std::uint64_t width_;
};

/// Which layers have which type, of the tensors of one part.
std::map<ggml, layers> by_type(const std::map<std::string, ggml>& types, const std::string& part) {
    std::map<ggml, layers> found;
    for (const auto& [name, type] : types)
        if (name.ends_with("." + part + ".weight")) found[type].insert(layer_of(name));
    return found;
}
layers all(std::int64_t n) {
    layers set;
    for (std::int64_t i = 0; i < n; ++i) set.insert(i);
    return set;
}
layers others(std::int64_t n, const layers& some) {
    layers set = all(n);
    for (const auto i : some) set.erase(i);
    return set;
}
using map = std::map<ggml, layers>;

// Of 32 layers: the first and last eighth, and every third of those between.
const layers more_of_32{0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};

model llama_8b() { return model("llama", 32, 32, 8).dense().untied(); }

}  // namespace

TEST_CASE("a model of 8B weights, queries in groups of four, own output") {
    SUBCASE("Q4_K_M") {
        const auto t = llama_8b().types(preset::q4_k_m);
        CHECK(t.at("token_embd.weight") == ggml::q4_k);
        CHECK(t.at("output.weight") == ggml::q6_k);
        CHECK_FALSE(t.contains("output_norm.weight"));
        CHECK_FALSE(t.contains("blk.3.attn_norm.weight"));
        for (const char* part : {"attn_v", "ffn_down"})
            CHECK(by_type(t, part) == map{{ggml::q4_k, others(32, more_of_32)}, {ggml::q6_k, more_of_32}});
        for (const char* part : {"attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"})
            CHECK(by_type(t, part) == map{{ggml::q4_k, all(32)}});
    }
    SUBCASE("Q4_K_S") {
        const auto t = llama_8b().types(preset::q4_k_s);
        for (const char* part : {"attn_v", "ffn_down"})
            CHECK(by_type(t, part) == map{{ggml::q5_k, {0, 1, 2, 3}}, {ggml::q4_k, others(32, {0, 1, 2, 3})}});
        CHECK(by_type(t, "attn_output") == map{{ggml::q4_k, all(32)}});
    }
    SUBCASE("Q5_K") {
        const auto t = llama_8b().types(preset::q5_k_m);
        for (const char* part : {"attn_v", "ffn_down"})
            CHECK(by_type(t, part) == map{{ggml::q5_k, others(32, more_of_32)}, {ggml::q6_k, more_of_32}});
        CHECK(llama_8b().counts(preset::q5_k_s) == std::map<ggml, int>{{ggml::q5_k, 1 + 7 * 32}, {ggml::q6_k, 1}});
    }
    SUBCASE("Q3_K") {
        const auto m = llama_8b().types(preset::q3_k_m);
        for (const char* part : {"attn_v", "ffn_down"})
            CHECK(by_type(m, part) == map{{ggml::q5_k, {0, 1}}, {ggml::q4_k, others(32, {0, 1})}});
        CHECK(by_type(m, "attn_output") == map{{ggml::q4_k, all(32)}});
        for (const char* part : {"attn_q", "attn_k", "ffn_gate", "ffn_up"})
            CHECK(by_type(m, part) == map{{ggml::q3_k, all(32)}});
        const auto l = llama_8b().types(preset::q3_k_l);
        for (const char* part : {"attn_v", "ffn_down", "attn_output"})
            CHECK(by_type(l, part) == map{{ggml::q5_k, all(32)}});
        CHECK(llama_8b().counts(preset::q3_k_s) == std::map<ggml, int>{{ggml::q3_k, 1 + 7 * 32}, {ggml::q6_k, 1}});
    }
    SUBCASE("Q2_K") {
        const auto t = llama_8b().types(preset::q2_k);
        CHECK(by_type(t, "attn_v") == map{{ggml::q4_k, all(32)}});
        for (const char* part : {"ffn_down", "attn_output"}) CHECK(by_type(t, part) == map{{ggml::q3_k, all(32)}});
        CHECK(by_type(t, "ffn_up") == map{{ggml::q2_k, all(32)}});
        const auto s = llama_8b().types(preset::q2_k_s);
        CHECK(by_type(s, "attn_v") == map{{ggml::q4_k, all(32)}});
        CHECK(by_type(s, "ffn_down") == map{{ggml::q4_k, {0, 1, 2, 3}}, {ggml::q2_k, others(32, {0, 1, 2, 3})}});
        CHECK(by_type(s, "attn_output") == map{{ggml::q2_k, all(32)}});
    }
    SUBCASE("formats without super-blocks") {
        CHECK(llama_8b().counts(preset::q8_0) == std::map<ggml, int>{{ggml::q8_0, 2 + 7 * 32}});
        CHECK(llama_8b().counts(preset::q4_0) == std::map<ggml, int>{{ggml::q4_0, 1 + 7 * 32}, {ggml::q6_k, 1}});
        const auto with = llama_8b().with_imatrix().types(preset::q4_0);
        CHECK(by_type(with, "ffn_down") == map{{ggml::q4_1, {0, 1, 2, 3}}, {ggml::q4_0, others(32, {0, 1, 2, 3})}});
        const auto five = llama_8b().with_imatrix().types(preset::q5_0);
        CHECK(by_type(five, "ffn_down") == map{{ggml::q5_1, {0, 1, 2, 3}}, {ggml::q5_0, others(32, {0, 1, 2, 3})}});
        CHECK(llama_8b().with_imatrix().counts(preset::q4_1) ==
              std::map<ggml, int>{{ggml::q4_1, 1 + 7 * 32}, {ggml::q6_k, 1}});
    }
    SUBCASE("codebooks of four bits") {
        for (const preset p : {preset::iq4_xs, preset::iq4_nl}) {
            const ggml base = info_of(p).base;
            const auto t = llama_8b().types(p);
            CHECK(by_type(t, "attn_v") == map{{ggml::q5_k, all(32)}});
            CHECK(by_type(t, "ffn_down") == map{{ggml::q5_k, {0, 1, 2, 3}}, {base, others(32, {0, 1, 2, 3})}});
            CHECK(by_type(llama_8b().with_imatrix().types(p), "ffn_down") == map{{base, all(32)}});
            CHECK(by_type(model("llama", 32, 32, 32).dense().types(p), "attn_v") == map{{base, all(32)}});
        }
    }
    SUBCASE("ternary") {
        const auto t = llama_8b().types(preset::tq2_0);
        CHECK(t.at("token_embd.weight") == ggml::q4_k);
        CHECK(t.at("output.weight") == ggml::q6_k);
        CHECK(by_type(t, "ffn_down") == map{{ggml::tq2_0, all(32)}});
    }
}

TEST_CASE("presets of less than four bits, with lattices") {
    const auto xs = llama_8b().types(preset::iq3_xs);
    layers middle;
    for (std::int64_t i = 4; i < 28; ++i) middle.insert(i);
    for (const char* part : {"ffn_gate", "ffn_up"})
        CHECK(by_type(xs, part) == map{{ggml::iq3_xxs, middle}, {ggml::iq3_s, others(32, middle)}});
    for (const char* part : {"attn_q", "attn_k"}) CHECK(by_type(xs, part) == map{{ggml::iq3_xxs, all(32)}});
    CHECK(by_type(xs, "attn_v") == map{{ggml::q4_k, all(32)}});

    const auto xxs = model("llama", 32, 32, 32).dense().untied().types(preset::iq3_xxs);
    CHECK(xxs.at("output.weight") == ggml::q5_k);
    CHECK(xxs.at("token_embd.weight") == ggml::iq3_s);
    CHECK(by_type(xxs, "attn_v") == map{{ggml::iq3_s, all(32)}});
    CHECK(by_type(xxs, "attn_q") == map{{ggml::iq2_s, all(32)}});
    CHECK(by_type(xxs, "attn_output") == map{{ggml::iq3_s, all(32)}});
    CHECK(by_type(xxs, "ffn_down") == map{{ggml::q4_k, {0, 1, 2, 3}}, {ggml::q3_k, others(32, {0, 1, 2, 3})}});
    const auto informed = model("llama", 32, 32, 32).dense().untied().with_imatrix().types(preset::iq3_xxs);
    CHECK(by_type(informed, "attn_v") == map{{ggml::iq3_xxs, all(32)}});
    CHECK(by_type(informed, "ffn_down") == map{{ggml::iq3_xxs, all(32)}});

    const auto m = llama_8b().types(preset::iq3_m);
    CHECK(by_type(m, "attn_v") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(m, "attn_output") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(m, "ffn_down") == map{{ggml::q4_k, {0, 1, 2, 3}}, {ggml::iq3_s, others(32, {0, 1, 2, 3})}});

    const auto two = model("llama", 32, 32, 32).dense().untied().types(preset::iq2_m);
    CHECK(two.at("output.weight") == ggml::q5_k);
    CHECK(two.at("token_embd.weight") == ggml::iq3_s);
    CHECK(by_type(two, "attn_v") == map{{ggml::iq3_s, all(32)}});
    CHECK(by_type(two, "attn_output") == map{{ggml::iq3_s, all(32)}});
    CHECK(by_type(two, "ffn_down") == map{{ggml::iq3_s, {0, 1, 2, 3}}, {ggml::iq2_s, others(32, {0, 1, 2, 3})}});
    const auto one = llama_8b().types(preset::iq1_s);
    CHECK(one.at("token_embd.weight") == ggml::q2_k);
    CHECK(by_type(one, "attn_v") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(one, "attn_output") == map{{ggml::iq2_xxs, all(32)}});
    CHECK(by_type(one, "ffn_down") == map{{ggml::q2_k, {0, 1, 2, 3}}, {ggml::iq1_s, others(32, {0, 1, 2, 3})}});
    CHECK(by_type(model("llama", 4, 8, 8).experts(8).types(preset::iq2_xs), "attn_output") ==
          map{{ggml::q5_k, all(4)}});
    CHECK(by_type(model("llama", 4, 8, 8).experts(8).types(preset::iq2_xs), "attn_k") == map{{ggml::q4_k, all(4)}});
    // Four experts or more.
    CHECK(by_type(model("llama", 4, 8, 8).experts(16).types(preset::iq2_xs), "attn_v") == map{{ggml::q4_k, all(4)}});
    CHECK(by_type(model("llama", 4, 8, 8).experts(16).types(preset::iq2_xs), "attn_output") ==
          map{{ggml::iq2_xs, all(4)}});
    for (const auto& [p, embedding, more] : {std::tuple(preset::iq1_m, ggml::q2_k, ggml::q2_k),
                                             {preset::iq2_xxs, ggml::q2_k, ggml::q2_k},
                                             {preset::iq2_xs, ggml::q2_k, ggml::q2_k},
                                             {preset::iq2_s, ggml::iq3_s, ggml::iq3_s}}) {
        const int which = static_cast<int>(p);  // no binding: clang 14 captures none
        CAPTURE(which);
        const ggml base = info_of(p).base;
        const auto t = model("llama", 32, 32, 32).dense().untied().types(p);
        CHECK(t.at("output.weight") == ggml::q5_k);
        CHECK(t.at("token_embd.weight") == embedding);
        CHECK(by_type(t, "attn_v") == map{{more, all(32)}});
        CHECK(by_type(t, "attn_output") == map{{p == preset::iq1_m   ? ggml::iq2_xxs
                                                : p == preset::iq2_s ? ggml::iq3_s
                                                                     : base,
                                                all(32)}});
        CHECK(by_type(t, "ffn_down") == map{{more, {0, 1, 2, 3}}, {base, others(32, {0, 1, 2, 3})}});
        for (const char* part : {"attn_q", "attn_k", "ffn_gate", "ffn_up"})
            CHECK(by_type(t, part) == map{{base, all(32)}});
        CHECK(by_type(llama_8b().types(p), "attn_v") == map{{ggml::q4_k, all(32)}});
    }
    const auto s = llama_8b().types(preset::iq3_s);
    CHECK(s.at("output.weight") == ggml::q6_k);
    CHECK(by_type(s, "attn_v") == map{{ggml::q4_k, all(32)}});
    for (const char* part : {"attn_q", "attn_output", "ffn_down", "ffn_up"})
        CHECK(by_type(s, part) == map{{ggml::iq3_s, all(32)}});
}

TEST_CASE("a model of 70B weights gives its few value heads more") {
    const auto values = [](const model_facts& facts, preset p) {
        model m(facts.architecture, facts.layers, facts.heads, facts.kv_heads);
        return by_type(m.dense().untied().types(p), "attn_v");
    };
    // Of 80 layers: 10 at either end, and 12, 15, ... 69.
    layers more;
    for (std::int64_t i = 0; i < 80; ++i)
        if (i < 10 || i >= 70 || i % 3 == 0) more.insert(i);
    more.erase(10), more.erase(11);
    CHECK(values({"llama", 80, 0, 64, 8}, preset::q4_k_m) == map{{ggml::q6_k, more}, {ggml::q5_k, others(80, more)}});
    CHECK(values({"llama", 80, 0, 64, 8}, preset::q3_k_s) == map{{ggml::q5_k, all(80)}});
    CHECK(values({"llama", 80, 0, 64, 8}, preset::q2_k) == map{{ggml::q5_k, all(80)}});
    CHECK(values({"llama", 80, 0, 64, 64}, preset::q3_k_s) == map{{ggml::q3_k, all(80)}});  // 65B: no groups
    CHECK(values({"qwen2", 80, 0, 64, 8}, preset::q3_k_s) == map{{ggml::q5_k, all(80)}});
    CHECK(values({"mistral3", 80, 0, 64, 8}, preset::q3_k_s) == map{{ggml::q3_k, all(80)}});
    const auto rest = model("llama", 80, 64, 8).dense().untied().types(preset::q4_k_m);
    CHECK(by_type(rest, "attn_q") == map{{ggml::q4_k, all(80)}});
    CHECK(by_type(rest, "ffn_down") == map{{ggml::q6_k, more}, {ggml::q4_k, others(80, more)}});
}

TEST_CASE("experts count by their layer's number, not by tensors") {
    const auto t = model("llama", 32, 32, 8).experts(8).untied().types(preset::q4_k_m);
    CHECK(by_type(t, "attn_v") == map{{ggml::q8_0, all(32)}});
    CHECK(by_type(t, "attn_k") == map{{ggml::q8_0, all(32)}});
    CHECK(by_type(t, "attn_q") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(t, "attn_output") == map{{ggml::q5_k, all(32)}});
    for (const char* part : {"ffn_down_exps", "ffn_down_shexp"})
        CHECK(by_type(t, part) == map{{ggml::q6_k, more_of_32}, {ggml::q4_k, others(32, more_of_32)}});
    CHECK(by_type(t, "ffn_up_exps") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(t, "ffn_gate_inp").empty());

    // The rules for eight are theirs alone.
    const auto many = model("llama", 32, 32, 8).experts(64).untied().types(preset::q4_k_m);
    CHECK(by_type(many, "attn_v") == map{{ggml::q6_k, more_of_32}, {ggml::q4_k, others(32, more_of_32)}});
    CHECK(by_type(many, "attn_k") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(many, "attn_output") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(many, "ffn_down_shexp") == map{{ggml::q6_k, more_of_32}, {ggml::q4_k, others(32, more_of_32)}});
    CHECK(by_type(model("llama", 16, 8, 8).experts(8).types(preset::iq3_m), "ffn_down_exps") ==
          map{{ggml::q4_k, {0, 1, 4, 7, 10, 13, 14, 15}}, {ggml::iq3_s, {2, 3, 5, 6, 8, 9, 11, 12}}});
    CHECK(by_type(model("llama", 16, 8, 8).experts(8).types(preset::q5_k_s), "attn_output") ==
          map{{ggml::q5_k, all(16)}});
    CHECK(by_type(model("llama", 16, 8, 8).experts(8).types(preset::q6_k), "attn_output") ==
          map{{ggml::q6_k, all(16)}});

    const auto fp4 = model("llama", 4, 8, 8).experts(8).untied().types(preset::mxfp4_moe);
    CHECK(by_type(fp4, "ffn_down_exps") == map{{ggml::mxfp4, all(4)}});
    CHECK(by_type(fp4, "ffn_down_shexp") == map{{ggml::q8_0, all(4)}});
    CHECK(fp4.at("output.weight") == ggml::q8_0);
    CHECK(fp4.at("token_embd.weight") == ggml::q8_0);

    model stray("llama", 4, 8, 8);
    stray.experts(8).add("blk.9.ffn_down.weight");
    CHECK_THROWS_WITH(stray.types(preset::q4_k_m),
                      "blk.9.ffn_down.weight: the preset's rule for experts needs a layer from 0 to 3");
}

TEST_CASE("without a matrix of its own the output is the embedding, and gets the output's type") {
    CHECK(model("llama", 2, 8, 8).types(preset::q4_k_m).at("token_embd.weight") == ggml::q6_k);
    CHECK(model("llama", 2, 8, 8).types(preset::q8_0).at("token_embd.weight") == ggml::q8_0);
    CHECK(model("llama", 2, 8, 8).types(preset::tq2_0).at("token_embd.weight") == ggml::q6_k);
    CHECK(model("llama", 2, 8, 8).types(preset::mxfp4_moe).at("token_embd.weight") == ggml::q8_0);
    CHECK(model("gemma3n", 2, 8, 8)
              .add("per_layer_token_embd.weight")
              .types(preset::q4_k_m)
              .at("per_layer_token_embd.weight") == ggml::q6_k);
    CHECK(model("gemma3n", 2, 8, 8)
              .untied()
              .add("per_layer_token_embd.weight")
              .types(preset::q4_k_m)
              .at("per_layer_token_embd.weight") == ggml::q4_k);
    // A row of 288 is no whole block of q4_k, so the rule says q8_0 rather than q6_k; of q4_0 it is.
    CHECK(model("llama", 2, 8, 8, 288).types(preset::q4_k_m).at("token_embd.weight") == ggml::q8_0);
    // q6_k does not fit.
    CHECK(model("llama", 2, 8, 8, 288).types(preset::q4_0).at("token_embd.weight") == ggml::q8_0);
    CHECK(model("llama", 2, 8, 8, 172).types(preset::q4_k_m).at("token_embd.weight") == ggml::f16);
}

TEST_CASE("falcon has rules of its own, and a fused projection counts as the value's") {
    auto falcon = model("falcon", 32, 71, 1).dense().untied().fused_values();
    const auto m4 = falcon.types(preset::q4_k_m);
    CHECK(m4.at("output.weight") == ggml::q8_0);
    CHECK(by_type(m4, "attn_qkv") == map{{ggml::q6_k, more_of_32}, {ggml::q4_k, others(32, more_of_32)}});
    layers five = more_of_32;
    five.erase(0), five.erase(1);
    CHECK(by_type(m4, "ffn_down") ==
          map{{ggml::q6_k, {0, 1}}, {ggml::q5_k, five}, {ggml::q4_k, others(32, more_of_32)}});
    const auto m3 = falcon.types(preset::q3_k_m);
    CHECK(by_type(m3, "ffn_down") ==
          map{{ggml::q5_k, {0, 1}}, {ggml::q4_k, five}, {ggml::q3_k, others(32, more_of_32)}});
    CHECK(by_type(m3, "attn_output") == map{{ggml::q3_k, all(32)}});
    const auto l3 = falcon.types(preset::q3_k_l);
    CHECK(by_type(l3, "ffn_down") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(l3, "attn_output") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(falcon.types(preset::q4_k_s), "ffn_down") == map{{ggml::q4_k, all(32)}});
    CHECK(by_type(falcon.types(preset::q4_k_s), "attn_qkv") ==
          map{{ggml::q5_k, {0, 1, 2, 3}}, {ggml::q4_k, others(32, {0, 1, 2, 3})}});

    model two("deepseek2", 16, 16, 16);  // kv_b beside v: both are counted, so 32 in 16 layers
    two.dense();
    for (std::int64_t i = 0; i < 16; ++i) two.add("blk." + std::to_string(i) + ".attn_kv_b.weight");
    const auto t = two.types(preset::q4_k_s);
    CHECK(by_type(t, "attn_kv_b") == map{{ggml::q5_k, {0, 1}}, {ggml::q4_k, others(16, {0, 1})}});
    CHECK(by_type(t, "attn_v") == map{{ggml::q5_k, {0, 1}}, {ggml::q4_k, others(16, {0, 1})}});
}

TEST_CASE("overrides come before rules and are not counted; pure has no rules; shapes have the last word") {
    const auto request = [](preset p, bool pure, std::vector<std::pair<const char*, std::optional<ggml>>> overrides) {
        type_request r{info_of(p).base, p, pure, {}};
        for (const auto& [pattern, type] : overrides) r.overrides.push_back({pattern, name_pattern(pattern), type});
        return r;
    };
    // Layers 0 and 1 are taken out of the count of values: 0 to 3 of it are layers 2 to 5.
    const auto t = llama_8b().types(
        request(preset::q4_k_s, false, {{R"(blk\.[01]\.attn_v)", ggml::q8_0}, {"attn_v|ffn_up", ggml::q2_k}}));
    CHECK(by_type(t, "attn_v") == map{{ggml::q8_0, {0, 1}}, {ggml::q2_k, others(32, {0, 1})}});
    const auto counted = llama_8b().types(request(preset::q4_k_s, false, {{R"(blk\.[01]\.attn_v)", ggml::q8_0}}));
    CHECK(by_type(counted, "attn_v") ==
          map{{ggml::q8_0, {0, 1}}, {ggml::q5_k, {2, 3, 4, 5}}, {ggml::q4_k, others(32, {0, 1, 2, 3, 4, 5})}});
    CHECK_FALSE(
        llama_8b().types(request(preset::q4_k_s, false, {{"^output", std::nullopt}})).contains("output.weight"));

    const auto pure = llama_8b().types(request(preset::q4_k_m, true, {{"output.weight", ggml::q8_0}}));
    CHECK(pure.at("output.weight") == ggml::q8_0);
    CHECK(by_type(pure, "attn_v") == map{{ggml::q4_k, all(32)}});
    CHECK(model("llama", 2, 8, 8, 288).types(request(preset::q4_k_m, true, {})).at("token_embd.weight") == ggml::q5_0);
    CHECK(model("llama", 2, 8, 8, 288).types({ggml::q6_k, {}, false, {}}).at("token_embd.weight") == ggml::q8_0);

    const std::pair<ggml, ggml> instead[] = {
        {ggml::q2_k, ggml::q4_0},    {ggml::q3_k, ggml::q4_0},  {ggml::q4_k, ggml::q5_0},
        {ggml::q5_k, ggml::q5_1},    {ggml::q6_k, ggml::q8_0},  {ggml::iq4_xs, ggml::iq4_nl},
        {ggml::iq3_s, ggml::iq4_nl}, {ggml::tq1_0, ggml::q4_0}, {ggml::tq2_0, ggml::q4_0}};
    for (const auto& [wanted, found] : instead) {
        CHECK(type_that_fits(wanted, 512) == wanted);
        CHECK(type_that_fits(wanted, 288) == found);
        CHECK(type_that_fits(wanted, 172) == ggml::f16);
    }
    CHECK(type_that_fits(ggml::q2_0, 96) == ggml::q4_0);
    CHECK(type_that_fits(ggml::q8_0, 172) == ggml::f16);
}

TEST_CASE("numbers that no model has are refused before a rule reckons with them") {
    const std::int64_t huge = std::int64_t{1} << 62, least = std::numeric_limits<std::int64_t>::min();
    const auto refusal = [](const model_facts& facts) -> std::string {
        try {
            preset_rules(preset::q2_k, facts, {}).choose({"blk.0.attn_v.weight"});
        } catch (const std::runtime_error& e) { return e.what(); }
        return "";
    };
    CHECK(refusal({"llama", 65536, 65536, 1 << 20, 1}) == "");
    CHECK(refusal({"llama", 0, 0, 0, 0}) == "");
    CHECK(refusal({"llama", 65537, 0, 1, 1}) == "llama.block_count: 65537, it must be from 0 to 65536");
    CHECK(refusal({"llama", huge, 0, 1, 1}).starts_with("llama.block_count: "));
    CHECK(refusal({"llama", 1, -1, 1, 1}).starts_with("llama.expert_count: "));
    CHECK(refusal({"llama", 1, 0, least, -1})
              .starts_with("llama.attention.head_count: "));  // whose quotient does not exist
    CHECK(refusal({"llama", 1, 0, 1, -1}).starts_with("llama.attention.head_count_kv: "));
}

TEST_CASE("order and need") {
    CHECK(stands_before("token_embd.weight", "blk.0.attn_k.weight"));
    CHECK(stands_before("blk.2.ffn_up.weight", "blk.10.attn_k.weight"));
    CHECK(stands_before("blk.2.attn_k.weight", "blk.2.attn_q.weight"));
    CHECK(stands_before("output.weight", "output_norm.weight"));
    CHECK(layer_of("blk.x") == -1);
    const tensor_shape down{"blk.0.ffn_down.weight"}, out{"output.weight"};
    CHECK(needs_imatrix(down, ggml::q2_k, preset::q2_k_s));
    CHECK_FALSE(needs_imatrix(down, ggml::q2_k, preset::q2_k));
    for (const ggml type : {ggml::iq1_s, ggml::iq1_m, ggml::iq2_xxs, ggml::iq2_xs, ggml::iq2_s, ggml::iq3_xxs}) {
        CHECK(needs_imatrix(down, type, std::nullopt));
        CHECK(type_that_fits(type, 288) == ggml::iq4_nl);
    }
    CHECK_FALSE(needs_imatrix(out, ggml::iq2_xs, std::nullopt));
    CHECK_FALSE(needs_imatrix(down, ggml::iq3_s, preset::iq3_s));
}
