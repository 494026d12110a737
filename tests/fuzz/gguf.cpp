// GGUF files: everything that a parsed file hands out is read, checked as a model
// and as a part of one, and written again.
#include "fuzz.hpp"

#include <qlib/file/ggml_data_check.hpp>
#include <qlib/file/gguf.hpp>
#include <qlib/file/gguf_split.hpp>

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

void read_value(const gguf_value& v) {
    static_cast<void>(v.as_uint());
    static_cast<void>(v.as_int());
    static_cast<void>(v.as_float());
    static_cast<void>(v.as_bool());
    if (const auto text = v.as_string()) touch_text(*text);
    std::uint64_t strings = 0;
    for (const std::string_view s : v.strings()) touch_text(s), ++strings;
    require(v.element_type != gguf_type::string || strings == v.count);
    for (std::uint64_t i = 0; v.is_array() && i < v.count; ++i)
        if (const auto element = v.at(i)) require(element->type == v.element_type);
    require(!v.at(v.count));
}

void read_tensor(const gguf_file& file, const gguf_tensor& t) {
    require(!t.name.empty() && t.name.size() <= 1024 && t.n_dims <= 4);
    require(file.find_tensor(t.name) == &t && t.data.size() == t.bytes);
    require(t.offset % file.alignment() == 0);
    const auto type = ggml_type_info(t.type);
    require(type && t.cols() % type->elements == 0);
    require(t.bytes == t.rows() * (t.cols() / type->elements) * type->bytes);
    touch(t.data);
    require(check_ggml_data(t.type, t.data).error().code != errc::ragged);
}

/// A file of the same content, if the writer accepts its alignment: it must read as the same.
void write_again(const gguf_file& file) {
    gguf_writer out;
    memory_sink sink;
    for (const gguf_entry& e : file.entries()) require(out.set(e.key, e.value).ok());
    for (const gguf_tensor& t : file.tensors())
        require(out.add_tensor(t.name, t.type, std::span(t.ne).first(t.n_dims)).ok());
    const status begun = out.begin(sink);
    require(begun.ok() == (file.alignment() >= 8));
    if (!begun || out.file_size() > 1u << 20) return;  // a large alignment is large files
    for (const gguf_tensor& t : file.tensors()) require(out.write(t.name, t.data).ok());
    require(out.finish().ok());
    const auto again = gguf_file::parse(sink.bytes);
    require(again.has_value() && again->entries().size() == file.entries().size() &&
            again->tensors().size() == file.tensors().size());
    for (const gguf_tensor& t : file.tensors()) {
        const gguf_tensor* copy = again->find_tensor(t.name);
        require(copy != nullptr && copy->ne == t.ne && copy->type == t.type && copy->data.size() == t.data.size());
    }
}

/// A beginning of a file says how much more is needed, and no more than there is when the whole file is good.
void read_beginning(std::span<const std::byte> bytes, bool good) {
    const auto part = gguf_file::parse(bytes.first(bytes.size() / 2), {.file_size = bytes.size()});
    if (!good) return;
    if (part)
        for (const gguf_tensor& t : part->tensors()) touch(t.data);
    else
        require(part.error().code == errc::truncated && part.error().sizes[0] > bytes.size() / 2 &&
                part.error().sizes[0] <= bytes.size());
}

}  // namespace

void fuzz(std::span<const std::byte> bytes) {
    std::string_view culprit;
    const auto file = gguf_file::parse(bytes, {}, &culprit);
    touch_text(culprit);
    if (!bytes.empty()) read_beginning(bytes, file.has_value());
    if (!file) {
        char text[200];
        touch_text(file.error().format(text, culprit));
        return;
    }
    for (const gguf_entry& e : file->entries()) {
        require(file->find(e.key) == &e.value);
        read_value(e.value);
    }
    for (const gguf_tensor& t : file->tensors()) read_tensor(*file, t);
    static_cast<void>(check_gguf_model(*file));
    const auto part = gguf_part_of(*file);
    require(!part || part->index < part->count);
    const gguf_file* const only[1] = {&*file};
    static_cast<void>(check_gguf_parts(only));
    write_again(*file);
}
