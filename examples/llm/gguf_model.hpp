#pragma once
// A Llama from a GGUF file: nothing is copied but the norms.
#include "../common/foreign_file.hpp"
#include "gguf_numbers.hpp"

#include <qlib/file/mapped_file.hpp>

#include <set>

/// A mapped file and its parsed header.
struct open_gguf {
    qlib::mapped_file file;
    qlib::gguf_file header;

    static std::shared_ptr<const open_gguf> at(const std::string& path) {
        auto file = qlib::mapped_file::open(path.c_str());
        if (!file) fail(file.error(), path);
        std::string_view culprit;
        auto header = qlib::gguf_file::parse(file->bytes(), {}, &culprit);
        if (!header) fail_to_read(header.error(), path, culprit, file->bytes(), ".gguf");
        check(qlib::check_gguf_model(*header), path);
        return std::make_shared<open_gguf>(open_gguf{std::move(*file), std::move(*header)});
    }
};

/// The tensors of a GGUF file by name, for assemble().
class gguf_source {
public:
    explicit gguf_source(const qlib::gguf_file& file) : file_(file) {}

    [[nodiscard]] bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }
    [[nodiscard]] matrix matrix_of(const std::string& name, std::size_t rows, std::size_t cols) {
        const qlib::gguf_tensor& t = tensor(name);
        if (t.n_dims > 2 || t.rows() != rows || t.cols() != cols)
            throw std::runtime_error(title_of(t) + ": " + std::to_string(rows) + " x " + std::to_string(cols) +
                                     " weights are needed");
        matrix m{name, {static_cast<qlib::format_id>(t.type), t.data, rows, cols, {}}};
        if (m.weights.format == qlib::format_id::nvfp4) m.weights.options.outer = tensor_scale(name);
        return m;
    }
    [[nodiscard]] std::vector<float> vector_of(const std::string& name, std::size_t length) {
        const qlib::gguf_tensor& t = tensor(name);
        if (t.rows() != 1 || t.cols() != length)
            throw std::runtime_error(title_of(t) + ": " + std::to_string(length) + " values are needed");
        std::vector<float> values(length);
        check(
            qlib::dequantize({static_cast<qlib::format_id>(t.type), t.data, 1, length, {}}, {values.data(), 1, length}),
            title_of(t));
        return values;
    }
    /// A model with a bias or an adapter that nobody asked for would run, and be wrong.
    void refuse_unused() const {
        for (const qlib::gguf_tensor& t : file_.tensors())
            if (!used_.contains(t.name)) throw std::runtime_error(title_of(t) + ": a plain Llama has no such tensor");
    }

private:
    const qlib::gguf_tensor& tensor(const std::string& name) {
        const qlib::gguf_tensor* t = file_.find_tensor(name);
        if (t == nullptr) throw std::runtime_error(name + ": the tensor is missing");
        used_.insert(t->name);
        return *t;
    }
    /// NVFP4's scale of the whole tensor, which GGUF keeps in a tensor of its own; without one it is 1.
    std::span<const std::byte> tensor_scale(const std::string& name) {
        static constexpr float one = 1;
        const std::string scale = name.substr(0, name.rfind('.')) + ".scale";
        if (!has(scale)) return std::as_bytes(std::span(&one, 1));
        const qlib::gguf_tensor& t = tensor(scale);
        if (t.type != 0 || t.rows() != 1 || t.cols() != 1)
            throw std::runtime_error(title_of(t) + ": one f32 is needed");
        return t.data;
    }

    const qlib::gguf_file& file_;
    std::set<std::string_view> used_;
};

inline model load_gguf(const std::string& path) {
    const auto opened = open_gguf::at(path);
    const qlib::gguf_file& file = opened->header;
    const hyper_parameters h = gguf_numbers(file, path).read();
    const qlib::gguf_tensor* embedding = file.find_tensor("token_embd.weight");
    gguf_source source(file);
    model m = assemble(source, h, embedding != nullptr ? embedding->rows() : 0);
    source.refuse_unused();
    m.file = opened;
    return m;
}
