// Seeds for the fuzzers, made by the library's own writers: make_corpus FOLDER writes FOLDER/<target>/<name>.
#include <qlib/file/bitsandbytes.hpp>
#include <qlib/file/compressed_tensors.hpp>
#include <qlib/file/gguf.hpp>
#include <qlib/file/imatrix.hpp>
#include <qlib/file/safetensors.hpp>
#include <qlib/file/safetensors_index.hpp>
#include <qlib/formats.hpp>
#include <qlib/quantize.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace qlib;

namespace {

struct memory_sink {
    std::vector<std::byte> bytes;
    bool operator()(std::span<const std::byte> piece) {
        bytes.insert(bytes.end(), piece.begin(), piece.end());
        return true;
    }
};

std::filesystem::path folder;
bool failed = false;

void check(const status& s) {
    char text[300];
    if (s) return;
    const std::string_view message = s.error().format(text);
    std::fprintf(stderr, "%.*s\n", static_cast<int>(message.size()), message.data());
    failed = true;
}
void save(const char* target, const std::string& name, std::span<const std::byte> bytes) {
    std::filesystem::create_directories(folder / target);
    std::ofstream out(folder / target / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    failed |= !out.flush();
}

/// Writes all tensors that were announced, filled with 1, 2, 3, ...
struct tensor {
    const char* name;
    std::uint32_t type;
    std::vector<std::uint64_t> ne;
};
std::vector<std::byte> finish(gguf_writer& out, const std::vector<tensor>& tensors) {
    memory_sink sink;
    for (const tensor& t : tensors) check(out.add_tensor(t.name, t.type, t.ne));
    check(out.begin(sink));
    const auto header = gguf_file::parse(sink.bytes, {.file_size = out.file_size()});
    if (!header) return check(header.error()), sink.bytes;
    for (const gguf_tensor& t : header->tensors()) {
        std::vector<std::byte> data(static_cast<std::size_t>(t.bytes));
        for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i % 61 + 1);
        check(out.write(std::string(t.name), data));
    }
    check(out.finish());
    return std::move(sink.bytes);
}

void make_gguf() {
    gguf_writer values;
    check(values.set("a", std::uint8_t{200}));
    check(values.set("b", std::int16_t{-2}));
    check(values.set("c", 0.5));
    check(values.set("d", true));
    check(values.set("general.alignment", std::uint32_t{8}));
    check(values.set_array("e", std::vector<std::string>{"x", "", "yz"}));
    check(values.set_array("f", std::vector<std::int64_t>{1, -1}));
    save("gguf", "values", finish(values, {{"x", 24, {3, 2}}, {"y", 28, {1}}, {"z", 0, {0, 7}}}));

    gguf_writer model;
    check(model.set("general.architecture", "llama"));
    check(model.set("general.quantization_version", std::uint32_t{2}));
    check(model.set("llama.block_count", std::uint32_t{1}));
    check(model.set("llama.embedding_length", std::uint32_t{32}));
    check(model.set_array("llama.attention.head_count", std::vector<std::uint32_t>{4}));
    check(model.set("llama.expert_count", std::uint32_t{2}));
    check(model.set("llama.expert_used_count", std::uint32_t{1}));
    check(model.set_array("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a"}));
    check(model.set_array("tokenizer.ggml.scores", std::vector<float>{0, -1}));
    check(model.set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>{3, 1}));
    check(model.set("tokenizer.ggml.bos_token_id", std::uint32_t{0}));
    save("gguf", "model",
         finish(model, {{"token_embd.weight", 2, {32, 2}},
                        {"blk.0.attn_norm.weight", 0, {32}},
                        {"blk.0.ffn_up_exps.weight", 8, {32, 2, 2}},
                        {"output.weight", 39, {32, 2}}}));

    gguf_writer part;
    check(part.set("split.no", std::uint16_t{1}));
    check(part.set("split.count", std::uint16_t{2}));
    check(part.set("split.tensors.count", std::int32_t{3}));
    save("gguf", "part", finish(part, {{"blk.0.ffn_down.weight", 12, {256}}}));
}

void make_imatrix() {
    const float a[3] = {4, 8, 0}, ca[1] = {4}, e[4] = {10, 5, 0, 0}, ce[2] = {2, 0};
    imatrix_writer out;
    memory_sink newer, older;
    check(out.add("blk.0.attn_q.weight", a, ca));
    check(out.add("e", e, ce));
    check(out.add_dataset("a.txt"));
    out.set_chunks(2, 2);
    check(out.write_legacy(older));
    check(out.set("calibration.sha256", "00ff"));
    check(out.write_gguf(newer));
    save("imatrix", "gguf", newer.bytes);
    save("imatrix", "older", older.bytes);
}

void save_text(const std::string& name, std::string_view text) { save("json", name, std::as_bytes(std::span(text))); }

/// A safetensors file of the parts of a layer "l", their data in the same order.
std::vector<std::byte> layer_file(const checkpoint_parts& parts, const std::vector<std::vector<std::byte>>& data) {
    safetensors_writer out;
    memory_sink sink;
    check(out.set_metadata("format", "pt"));
    for (const checkpoint_part& p : parts) check(out.add_tensor("l." + std::string(p.suffix), p.type, p.shape()));
    check(out.begin(sink));
    for (const safetensors_tensor& t : out.tensors())
        for (std::size_t i = 0; i < parts.size(); ++i)
            if (t.name == "l." + std::string(parts[i].suffix)) check(out.write(t.name, data[i]));
    check(out.finish());
    return std::move(sink.bytes);
}

/// A checkpoint of a quantized matrix: parts(matrix) says which, write(matrix, part, bytes) fills them.
template <block_format F, class Parts, class Write>
void make_layer(const std::string& name, std::size_t rows, std::size_t cols, const Parts& parts, const Write& write) {
    std::vector<float> weights(rows * cols);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 17) - 8.0f;
    const auto m = quantize<F>(matrix_view<const float>{weights.data(), rows, cols});
    if (!m) return check(m.error());
    const result<checkpoint_parts> all = parts(*m);
    if (!all) return check(all.error());
    std::vector<std::vector<std::byte>> data;
    for (std::size_t i = 0; i < all->size(); ++i) {
        data.emplace_back(static_cast<std::size_t>((*all)[i].bytes));
        check(write(*m, i, data.back()));
    }
    const std::vector<std::byte> file = layer_file(*all, data);
    save("checkpoints", name, file);
    save("safetensors", name, file);
}
template <block_format F> void make_bitsandbytes(const std::string& name) {
    constexpr auto type = safetensors_type::bf16;
    make_layer<F>(
        name, 2, 64, [](const auto& m) { return bitsandbytes_parts<F>(m.rows(), m.cols(), type); },
        [](const auto& m, std::size_t i, std::span<std::byte> out) {
            return export_bitsandbytes<F>(m.view(), type, i, out);
        });
}
template <block_format F> void make_pack_quantized(const std::string& name) {
    make_layer<F>(
        name, 2, F::group, [](const auto& m) { return pack_quantized_parts<F>(m.rows(), m.cols()); },
        [](const auto& m, std::size_t i, std::span<std::byte> out) {
            return export_pack_quantized<F>(m.view(), i, out);
        });
}

void make_checkpoints() {
    make_bitsandbytes<nf4>("nf4");
    make_bitsandbytes<nf4_dq>("nf4_dq");
    make_pack_quantized<int4_g32>("int4_g32");
    make_pack_quantized<int4_g128_asym>("int4_g128_asym");
    make_pack_quantized<int_format<int_spec{.bits = 3, .group = 32, .sym = symmetric}>>("int3_g32");

    const safetensors_location places[] = {{"a.weight", "model-00001-of-00002.safetensors"},
                                           {"b", "model-00002-of-00002.safetensors"}};
    const std::string_view ignored[] = {"lm_head"};
    std::string text(4096, ' ');
    if (const auto size = write_safetensors_index(places, 100, text))
        save_text("index", std::string_view(text).substr(0, *size));
    const std::size_t size = write_compressed_tensors_config<int4_g32>(ignored, text);
    save_text("config", "{\"quantization_config\": " + text.substr(0, size) + "}");
    save_text("values", R"({"a": [1, -2.5e-3, true, null, "x\u0041\n"], "b": {"c": 18446744073709551615}})");
}

/// A seed per format, as fuzz_formats reads it: 3 rows of 96 weights or more, 2 tokens.
void make_formats() {
    for (std::size_t i = 0; i < all_format_ids.size(); ++i) {
        const auto options = static_cast<std::byte>(i % (2 * built_rooms.size()));
        std::vector<std::byte> seed = {static_cast<std::byte>(i), std::byte{3}, std::byte{32}, std::byte{2}, options};
        for (std::size_t j = 0; j < 40; ++j) seed.push_back(static_cast<std::byte>((i * 37 + j * 101) % 256));
        save("formats", std::string(format_name(all_format_ids[i])), seed);
    }
}

/// As fuzz_presets reads it: a model of the kind that each preset has rules for.
void make_presets() {
    for (std::size_t i = 0; i < 32; ++i) {
        std::vector<std::byte> seed;
        const auto put = [&](std::initializer_list<std::size_t> bytes) {
            for (const std::size_t b : bytes) seed.push_back(static_cast<std::byte>(b));
        };
        put({i % 5, 80, i % 3 * 4, 64, 8, i % 2, i, 1, 1, 3, 'f', 'f', 'n', 1});
        for (std::size_t part = 0; part < 15; ++part) {
            put({part == 0 ? 0u : part == 1 ? 1u : 38 + part});
            if (part > 1) put({part % 4});
            put({i % 2 * 32, 1, 2, 0, 1, 0, 1, 0});
        }
        save("presets", "preset" + std::to_string(i), seed);
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    folder = arguments[1];
    make_gguf();
    make_imatrix();
    make_formats();
    make_presets();
    make_checkpoints();
    return failed;
}
