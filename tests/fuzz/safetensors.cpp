// safetensors files: everything that a parsed file hands out is read, and written again.
#include "fuzz.hpp"

#include <qlib/file/safetensors.hpp>

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

void read_tensor(const safetensors_file& file, const safetensors_tensor& t, std::uint64_t& end) {
    require(file.find(t.name) == &t && t.data.size() == t.bytes && t.offset == end);
    end = t.offset + t.bytes;
    require(t.bytes * 8 == t.rows() * t.cols() * safetensors_bits(t.type));
    require(safetensors_type_named(safetensors_name(t.type)).value() == t.type);
    touch(t.data);
}

void write_again(const safetensors_file& file) {
    safetensors_writer out;
    memory_sink sink;
    for (const safetensors_entry& e : file.metadata()) require(out.set_metadata(e.key, e.value).ok());
    for (const safetensors_tensor& t : file.tensors()) require(out.add_tensor(t.name, t.type, t.shape).ok());
    require(out.begin(sink).ok());
    for (const safetensors_tensor& t : out.tensors()) require(out.write(t.name, file.find(t.name)->data).ok());
    require(out.finish().ok() && sink.bytes.size() == out.file_size());
    const auto again = safetensors_file::parse(sink.bytes);
    require(again.has_value() && again->metadata().size() == file.metadata().size() &&
            again->tensors().size() == file.tensors().size());
    for (const safetensors_tensor& t : file.tensors()) {
        const safetensors_tensor* copy = again->find(t.name);
        require(copy != nullptr && copy->type == t.type && copy->n_dims() == t.n_dims() && copy->bytes == t.bytes);
    }
}

/// A beginning of a file says how much more is needed, and no more than there is when the whole file is good.
void read_beginning(std::span<const std::byte> bytes, bool good) {
    const auto part = safetensors_file::parse(bytes.first(bytes.size() / 2), {.file_size = bytes.size()});
    if (!good) return;
    if (part)
        for (const safetensors_tensor& t : part->tensors()) touch(t.data);
    else
        require(part.error().code == errc::truncated && part.error().sizes[0] > bytes.size() / 2 &&
                part.error().sizes[0] <= bytes.size());
}

}  // namespace

void fuzz(std::span<const std::byte> bytes) {
    std::string_view culprit;
    const auto file = safetensors_file::parse(bytes, {}, &culprit);
    touch_text(culprit);
    if (!bytes.empty()) read_beginning(bytes, file.has_value());
    if (!file) {
        char text[200];
        touch_text(file.error().format(text, culprit));
        return;
    }
    std::uint64_t end = 0;
    for (const safetensors_tensor& t : file->tensors()) read_tensor(*file, t, end);
    for (const safetensors_entry& e : file->metadata()) touch_text(e.value), require(file->metadata(e.key) == &e.value);
    write_again(*file);
}
