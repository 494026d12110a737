#pragma once
// --imatrix: how much each input of each weight matters.
#include "../common/failure.hpp"
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
        for (const char* key :
             {"imatrix.dataset_sha256", "calibration.sha256"})  // as examples/llm writes it, and other programs
            if (const qlib::gguf_value* v = file_.find_metadata(key); v != nullptr && v->as_string())
                return std::string(*v->as_string());
        return "";
    }
    [[nodiscard]] std::vector<std::string> datasets() const { return {file_.datasets().begin(), file_.datasets().end()}; }
    [[nodiscard]] std::size_t entries() const { return file_.entries().size(); }
    [[nodiscard]] std::uint32_t chunks() const { return file_.chunk_count(); }

    /// For a tensor: of the columns of one matrix after the other; empty where the file knows nothing of it. A token embedding's of
    /// another size is not used: it is looked up, not multiplied.
    [[nodiscard]] std::span<const float> importance_of(const source_tensor& t) const {
        const qlib::imatrix_entry* e = file_.find(t.original_name());
        if (e == nullptr || !uses(e->name)) return {};
        if (e->importance.size() == t.cols() * t.ne[2]) return e->importance;
        if (role_of(t.name) == role::token_embedding) return {};
        throw std::runtime_error(t.title() + ": the imatrix has " + std::to_string(e->importance.size()) + " values, " +
                                 std::to_string(t.cols() * t.ne[2]) + " are needed");
    }

private:
    [[nodiscard]] bool uses(std::string_view name) const {
        const auto holds = [&](const std::string& text) { return name.find(text) != std::string_view::npos; };
        return (include_.empty() || std::ranges::any_of(include_, holds)) && std::ranges::none_of(exclude_, holds);
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
