#pragma once
// --imatrix: how much each input of each weight matters.
#include "../common/calibration.hpp"
#include "../common/failure.hpp"
#include "../common/tensor_names.hpp"
#include "model.hpp"

#include <qlib/file/imatrix.hpp>

class imatrix_input {
public:
    explicit imatrix_input(const std::string& path)
        : name_(std::filesystem::path(path).filename()), memory_(map_file(path)), file_(parse(path, memory_)) {}

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] std::string sha256() const { return sha256_of(memory_.bytes()); }
    /// Of the text that the matrix was made from, where the file says it.
    [[nodiscard]] std::string text_sha256() const {
        const qlib::gguf_value* v = file_.find_metadata(calibration_key);
        const auto text = v != nullptr ? v->as_string() : qlib::result<std::string_view>(std::string_view());
        return text ? std::string(*text) : "";
    }
    [[nodiscard]] std::vector<std::string> datasets() const { return {file_.datasets().begin(), file_.datasets().end()}; }
    [[nodiscard]] std::size_t entries() const { return file_.entries().size(); }
    [[nodiscard]] std::uint32_t chunks() const { return file_.chunk_count(); }

    /// For a tensor: of the columns of one matrix after the other; empty where the file knows nothing of it. Files have
    /// GGUF's names, so a checkpoint's tensor is looked up by its place there. A token embedding's of another size is
    /// not used: it is looked up, not multiplied.
    [[nodiscard]] std::span<const float> importance_of(const source_tensor& t) const {
        if (const qlib::imatrix_entry* e = file_.find(t.name)) return importance_of(t, t.name, e->importance);
        const auto place = gguf_place_of(t.name);
        const qlib::imatrix_entry* e = place ? file_.find(place->name) : nullptr;
        if (e == nullptr) return {};
        if (!place->expert) return importance_of(t, place->name, e->importance);
        const std::size_t experts = e->importance.size() / std::max<std::size_t>(t.cols(), 1);
        const auto one = e->of_matrix(*place->expert, experts, t.cols());
        if (!one) fail(one.error(), t.title());
        return *one;
    }

private:
    static std::span<const float> importance_of(const source_tensor& t, std::string_view gguf_name,
                                                std::span<const float> found) {
        if (found.size() == t.cols() * t.ne[2]) return found;
        if (role_of(gguf_name) == role::token_embedding) return {};
        throw std::runtime_error(t.title() + ": the imatrix has " + std::to_string(found.size()) + " values, " +
                                 std::to_string(t.cols() * t.ne[2]) + " are needed");
    }
    static qlib::imatrix_file parse(const std::string& path, const qlib::mapped_file& memory) {
        std::string_view culprit;
        auto file = qlib::imatrix_file::parse(memory.bytes(), {}, &culprit);
        if (!file) fail(file.error(), culprit.empty() ? path : path + ": " + std::string(culprit));
        return std::move(file).value();
    }

    std::string name_;
    qlib::mapped_file memory_;
    qlib::imatrix_file file_;
};
