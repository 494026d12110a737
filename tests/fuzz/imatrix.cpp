// Importance matrices of both forms: what parses keeps its promises, and is written and read again in both forms.
#include "fuzz.hpp"

#include <qlib/file/imatrix.hpp>

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

void check_entry(const imatrix_file& file, const imatrix_entry& e) {
    require(!e.name.empty() && e.cols != 0 && e.matrices != 0);
    require(e.importance.size() == e.cols * e.matrices && e.counts.size() == e.matrices);
    require(file.find(e.name) == &e);
    for (const float v : e.importance) require(v >= 0 && v < __builtin_inff());
    for (const float v : e.counts) require(v >= 0 && v < __builtin_inff());
    require(e.of_matrix(e.matrices - 1, e.matrices, e.cols)->size() == e.cols);
}

/// The means as sums of one input each: they come back as they are.
void write_again(const imatrix_file& file) {
    imatrix_writer out;
    std::vector<float> ones;
    for (const imatrix_entry& e : file.entries())
        ones.resize(e.matrices > ones.size() ? e.matrices : ones.size(), 1.0f);
    for (const imatrix_entry& e : file.entries()) {
        const status s = out.add(e.name, e.importance, std::span(ones).first(e.matrices));
        require(s.ok() || e.name.size() > 55);
        if (!s) return;
    }
    for (const std::string_view name : file.datasets()) require(out.add_dataset(name).ok());
    memory_sink newer, older;
    require(out.write_gguf(newer).ok() && out.write_legacy(older).ok());
    for (const memory_sink* sink : {&newer, &older}) {
        const auto again = imatrix_file::parse(sink->bytes);
        require(again.has_value() && again->entries().size() == file.entries().size());
        for (const imatrix_entry& e : file.entries()) {
            const imatrix_entry* copy = again->find(e.name);
            require(copy != nullptr && copy->importance.size() == e.importance.size());
            for (std::size_t i = 0; i < e.importance.size(); ++i) require(copy->importance[i] == e.importance[i]);
        }
    }
}

}  // namespace

void fuzz(std::span<const std::byte> bytes) {
    std::string_view culprit;
    const auto file = imatrix_file::parse(bytes, {}, &culprit);
    touch_text(culprit);
    if (!file) {
        char text[200];
        touch_text(file.error().format(text, culprit));
        return;
    }
    require(!file->entries().empty());
    for (const imatrix_entry& e : file->entries()) check_entry(*file, e);
    for (const std::string_view name : file->datasets()) touch_text(name);
    write_again(*file);
}
