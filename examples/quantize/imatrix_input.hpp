#pragma once
// --imatrix: how much each input of each weight matters.
#include "../common/calibration.hpp"
#include "../common/failure.hpp"
#include "../common/tensor_names.hpp"
#include "model.hpp"

#include <qlib/file/imatrix.hpp>

class imatrix_input {
public:
    /// Of the entries those alone whose name holds one of the texts `include`, or none of `exclude`; both empty: all.
    /// error: a text that no entry's name holds
    explicit imatrix_input(const std::string& path, std::vector<std::string> include = {},
                           std::vector<std::string> exclude = {})
        : name_(std::filesystem::path(path).filename()),
          memory_(map_file(path)),
          file_(parse(path, memory_)),
          include_(std::move(include)),
          exclude_(std::move(exclude)) {
        for (const auto* texts : {&include_, &exclude_})
            for (const std::string& text : *texts)
                if (std::ranges::none_of(file_.entries(), [&](const qlib::imatrix_entry& e) {
                        return e.name.find(text) != std::string_view::npos;
                    }))
                    throw std::runtime_error(path + ": it has no entry whose name holds " + text + ", as " +
                                             (texts == &include_ ? "--include-weights" : "--exclude-weights") +
                                             " says");
    }

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] std::string sha256() const { return sha256_of(memory_.bytes()); }
    /// Of the text that the matrix was made from, where the file says it.
    [[nodiscard]] std::string text_sha256() const {
        const qlib::gguf_value* v = file_.find_metadata(calibration_key);
        const auto text = v != nullptr ? v->as_string() : qlib::result<std::string_view>(std::string_view());
        return text ? std::string(*text) : "";
    }
    [[nodiscard]] std::vector<std::string> datasets() const {
        return {file_.datasets().begin(), file_.datasets().end()};
    }
    [[nodiscard]] std::size_t entries() const { return file_.entries().size(); }
    [[nodiscard]] std::uint32_t chunks() const { return file_.chunk_count(); }

    /// For a tensor: of the columns of one matrix after the other; empty where the file knows nothing of it. Files have
    /// GGUF's names, so a checkpoint's tensor is looked up by its place there. A token embedding's of another size is
    /// not used: it is looked up, not multiplied.
    [[nodiscard]] std::span<const float> importance_of(const source_tensor& t) const {
        if (const qlib::imatrix_entry* e = find(t.original_name())) return importance_of(t, e->name, e->importance);
        const auto place = gguf_place_of(t.original_name());
        const qlib::imatrix_entry* e = place ? find(place->name) : nullptr;
        if (e == nullptr) return {};
        if (!place->expert) return importance_of(t, place->name, e->importance);
        const std::size_t experts = e->importance.size() / std::max<std::size_t>(t.cols(), 1);
        const auto one = e->of_matrix(*place->expert, experts, t.cols());
        if (!one) fail(one.error(), t.title());
        return *one;
    }

private:
    /// An entry of those that are used; null: there is none.
    [[nodiscard]] const qlib::imatrix_entry* find(std::string_view name) const {
        const auto holds = [&](const std::string& text) { return name.find(text) != std::string_view::npos; };
        if (!include_.empty() && std::ranges::none_of(include_, holds)) return nullptr;
        return std::ranges::none_of(exclude_, holds) ? file_.find(name) : nullptr;
    }
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
        if (!file) fail(file.error(), culprit.empty() ? path : path + ": " + printable(culprit));
        return std::move(file).value();
    }

    std::string name_;
    qlib::mapped_file memory_;
    qlib::imatrix_file file_;
    std::vector<std::string> include_, exclude_;
};
