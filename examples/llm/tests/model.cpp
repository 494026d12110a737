// Loading, running and measuring a small model: broken files are refused by name,
// and neither batches nor threads change a result.
#include "../evaluate.hpp"
#include "../gguf_model.hpp"
#include "../imatrix.hpp"
#include "../load_as.hpp"
#include "../sampler.hpp"
#include "synthetic.hpp"

#include <doctest/doctest.h>

namespace {

/// What load_gguf() says of a model that a test has changed.
template <class Change> std::string refusal(const Change& change) {
    const temporary_file file;
    synthetic_llama s;
    change(s);
    s.write(file.path);
    try {
        static_cast<void>(load_gguf(file.path));
    } catch (const std::runtime_error& e) { return e.what(); }
    return "no refusal";
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

model load_synthetic() {
    const temporary_file file;
    synthetic_llama().write(file.path);
    return load_gguf(file.path);
}

std::vector<token> some_tokens(std::size_t n) {
    std::vector<token> t;
    for (std::size_t i = 0; i < n; ++i) t.push_back(static_cast<token>(i * 37 % 264));
    return t;
}

/// The logits of all tokens, brought in batches.
std::vector<float> logits_of(const model& m, std::size_t batch, std::size_t threads, qlib::compute mode) {
    qlib::thread_pool pool(threads);
    const std::vector<token> tokens = some_tokens(40);
    transformer engine(m, pool, tokens.size(), batch, {.mode = mode});
    std::vector<float> all;
    for (std::size_t at = 0; at < tokens.size(); at += batch) {
        const std::size_t count = std::min(batch, tokens.size() - at);
        engine.forward(std::span(tokens).subspan(at, count));
        const auto logits = engine.logits(0, count);
        all.insert(all.end(), logits.data, logits.data + count * logits.cols);
    }
    return all;
}

}  // namespace

TEST_CASE("broken models are refused, with the tensor's name and shape") {
    const auto expect = [](std::string_view part, const auto& change) {
        CHECK_MESSAGE(contains(refusal(change), part), refusal(change));
    };
    using llama = synthetic_llama;
    expect("blk.1.ffn_up.weight: the tensor is missing",
           [](llama& s) { s.find("blk.1.ffn_up.weight").name = "blk.1.ffn_upp.weight"; });
    expect("blk.0.attn_k.weight (8 x 32): 16 x 32", [](llama& s) { s.find("blk.0.attn_k.weight").rows = 8; });
    expect("blk.0.attn_norm.weight (16): 32 values", [](llama& s) { s.find("blk.0.attn_norm.weight").cols = 16; });
    expect("blk.0.attn_q.bias (32): a plain Llama has no such tensor", [](llama& s) {
        s.tensors.push_back({"blk.0.attn_q.bias", 32, 1});
    });
    expect("token_embd.weight", [](llama& s) { s.find("token_embd.weight").name = "other.weight"; });
    expect("head_count", [](llama& s) { s.heads = 0; });
    expect("head_count_kv", [](llama& s) { s.kv_heads = 0; });
    expect("share", [](llama& s) { s.kv_heads = 3; });
    expect("RoPE", [](llama& s) { s.heads = s.kv_heads = 32; });
    expect("block_count", [](llama& s) { s.layers = 0; });
    expect("blk.2.attn_norm.weight: the tensor is missing", [](llama& s) { s.layers = 3; });
    expect("token_embd.weight", [](llama& s) { s.dim = 64; });
    CHECK(refusal([](synthetic_llama&) {}) == "no refusal");
}

TEST_CASE("neither batches nor threads change the logits") {
    model m = load_synthetic();
    for (const char* format : {"f32", "q8_0"}) {
        qlib::thread_pool pool(1);
        load_as(m, *qlib::format_named(format), pool);
        for (const qlib::compute mode : {qlib::compute::exact, qlib::compute::automatic}) {
            const std::vector<float> want = logits_of(m, 40, 1, mode);
            for (const std::size_t batch : {1u, 3u, 16u}) {
                const std::vector<float> got = logits_of(m, batch, 2, mode);
                REQUIRE(got.size() == want.size());
                float most = 0;
                for (std::size_t i = 0; i < got.size(); ++i) most = std::max(most, std::abs(got[i] - want[i]));
                CHECK(most <= 1e-4f);
            }
            CHECK(logits_of(m, 40, 3, mode) == want);
        }
    }
}

TEST_CASE("a model compared with itself, and with a worse one") {
    const model a = load_synthetic();
    model b = load_synthetic();
    qlib::thread_pool pool(2);
    CHECK(load_as(b, qlib::format_id::int4_g32, pool) == 0);
    CHECK(size_of_weights(b).bits_per_weight() < 6);
    CHECK_THROWS_AS(check_products(b, {.mode = qlib::compute::integer, .activation_group = 7}), std::runtime_error);
    model c = load_synthetic();
    CHECK(load_as(c, qlib::format_id::q4_k, pool) == 15);  // rows of 32 and 48 are no blocks of 256

    const temporary_file file;
    synthetic_llama().write(file.path);
    const auto opened = open_gguf::at(file.path);
    const tokenizer t(opened->header);
    const chunked_text text(t, "ab ba abab a b ba  ab ab abba b a ab ab abba ba baab aab", 16, 2);
    for (const std::size_t batch : {16u, 1u}) {
        transformer a1(a, pool, 16, batch), a2(a, pool, 16, batch), b1(b, pool, 16, batch);
        comparison same = compare_models(a1, a2, text, pool), worse = compare_models(a1, b1, text, pool);
        CHECK(same.kl.count() == 14);  // 2 chunks, 7 of 16 tokens each
        CHECK(same.kl.mean() == 0.0);
        CHECK(same.same_top1.mean() == 1.0);
        CHECK(same.a.value() == measure_perplexity(a1, text, pool).value());
        CHECK(worse.kl.mean() > 0.0);
        CHECK(worse.a.value() == same.a.value());
    }
    CHECK_THROWS_AS(chunked_text(t, "a", 16, 0), std::runtime_error);
}

TEST_CASE("standard errors are those of chunks") {
    // Tokens of a chunk are all alike: three chunks tell as much as three tokens.
    chunked_mean m;
    qlib::running_mean three;
    std::vector<double> values;
    for (const double x : {1.0, 2.0, 6.0}) {
        for (int i = 0; i < 100; ++i) m.add(values.emplace_back(x));
        m.end_chunk();
        three.add(x);
    }
    CHECK(m.count() == 300);
    CHECK(m.mean() == doctest::Approx(3));
    CHECK(m.standard_error() == doctest::Approx(three.standard_error()));
    CHECK(plus_minus(m.standard_error(), 3) == "+/- 1.528");  // sqrt(7 / 3)

    const percentile_estimate middle = percentile_of_chunks(values, 3, 0.5);
    CHECK(middle.value == 2.0);
    CHECK(middle.error == 2.5);  // two of three chunks reach 2: 0.5 +- 0.33 of all values are from 1 to 6
    CHECK(percentile_of_chunks(std::vector<double>(300, 7.0), 3, 0.99).error == 0.0);

    chunked_mean one;
    one.add(1);
    one.add(2);
    one.end_chunk();
    CHECK(plus_minus(one.standard_error(), 3) == "+/- unknown");
    CHECK(plus_minus(percentile_of_chunks(values, 1, 0.5).error, 3) == "+/- unknown");
}

TEST_CASE("the importance matrix counts tokens, and q, k and v share their inputs") {
    const model m = load_synthetic();
    qlib::thread_pool pool(2);
    transformer engine(m, pool, 16, 5);
    const temporary_file file;
    synthetic_llama().write(file.path);
    const auto opened = open_gguf::at(file.path);
    const chunked_text text(tokenizer(opened->header), "ab ba abab a b ba  ab ab abba b a ab ab abba ba baab aab", 16,
                            2);
    importance_collector collector(true);
    collect_importance(engine, text, true, collector);
    CHECK(collector.size() == 14);  // seven in each layer; the output is the embedding here

    qlib::imatrix_writer out;
    collector.add_to(out);
    std::vector<std::byte> bytes;
    auto sink = [&](std::span<const std::byte> piece) {
        return bytes.insert(bytes.end(), piece.begin(), piece.end()), true;
    };
    REQUIRE(out.write_gguf(sink).ok());
    const auto read = qlib::imatrix_file::parse(bytes);
    REQUIRE(read.has_value());
    const auto *q = read->find("blk.0.attn_q.weight"), *k = read->find("blk.0.attn_k.weight"),
               *down = read->find("blk.1.ffn_down.weight");
    REQUIRE((q != nullptr && k != nullptr && down != nullptr));
    CHECK(q->counts[0] == 32.0f);
    CHECK(q->cols == 32);
    CHECK(down->cols == 48);
    CHECK(std::equal(q->importance.begin(), q->importance.end(), k->importance.begin(), k->importance.end()));
    double sum = 0;  // rows behind an RMS norm with weights of 1 have a mean square of 1
    for (const float x : q->importance) sum += static_cast<double>(x);
    CHECK(sum == doctest::Approx(32).epsilon(1e-3));
}

TEST_CASE("sampler") {
    const std::vector<float> logits{0, 3, 2.5f, 3, -1};
    CHECK(sampler({.temperature = 0})(logits) == 1);  // the first of equal ones
    CHECK(sampler({.top_k = 1})(logits) == 1);
    sampler a({.temperature = 1, .top_k = 3, .seed = 5}), b({.temperature = 1, .top_k = 3, .seed = 5});
    std::array<int, 5> seen{};
    for (int i = 0; i < 3000; ++i) {
        const auto t = a(logits);
        CHECK(t == b(logits));
        ++seen[t];
    }
    CHECK((seen[0] == 0 && seen[4] == 0));  // 1, 3 and 2 have 38, 38 and 23 %
    CHECK(seen[2] > 600);
    CHECK(seen[2] < 800);
    sampler narrow({.temperature = 1, .top_k = 0, .top_p = 0.5});
    for (int i = 0; i < 100; ++i) CHECK(narrow(logits) % 2 == 1);  // 1 and 3 reach the half
}
