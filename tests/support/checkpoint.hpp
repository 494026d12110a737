#pragma once
// A safetensors file in memory, put together tensor by tensor: what tests of
// checkpoint layouts change and hand to readers.
#include <qlib/file/checkpoint_part.hpp>
#include <qlib/file/safetensors.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace sample {

struct checkpoint {
    struct tensor {
        qlib::safetensors_type type{};
        std::vector<std::uint64_t> shape;
        std::vector<std::byte> data;
    };
    std::map<std::string, tensor> tensors;
    std::vector<std::byte> bytes;  // of the file, after file()

    template <class T>
    void set(const std::string& name, qlib::safetensors_type type, std::vector<std::uint64_t> shape,
             const std::vector<T>& values) {
        std::vector<std::byte> data(values.size() * sizeof(T));
        if (!data.empty()) std::memcpy(data.data(), values.data(), data.size());
        tensors[name] = {type, std::move(shape), std::move(data)};
    }
    void set_text(const std::string& name, const std::string& text) {
        set(name, qlib::safetensors_type::u8, {text.size()}, std::vector<char>(text.begin(), text.end()));
    }

    /// Writes the file and parses it.
    qlib::safetensors_file file() {
        qlib::safetensors_writer out;
        bytes.clear();
        auto sink = [this](std::span<const std::byte> piece) {
            return bytes.insert(bytes.end(), piece.begin(), piece.end()), true;
        };
        for (const auto& [name, t] : tensors) REQUIRE(out.add_tensor(name, t.type, t.shape));
        REQUIRE(out.begin(sink));
        for (const qlib::safetensors_tensor& t : out.tensors())
            REQUIRE(out.write(t.name, tensors.at(std::string(t.name)).data));
        REQUIRE(out.finish());
        auto parsed = qlib::safetensors_file::parse(bytes);
        REQUIRE(parsed);
        return std::move(*parsed);
    }
};

/// The data of all parts of a layer, filled in by write(index, bytes).
template <class Write>
void add_parts(checkpoint& c, const std::string& layer, const qlib::checkpoint_parts& parts, const Write& write) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
        std::vector<std::byte> data(static_cast<std::size_t>(parts[i].bytes));
        REQUIRE(write(i, std::span<std::byte>(data)));
        c.set(layer + "." + std::string(parts[i].suffix), parts[i].type,
              {parts[i].shape().begin(), parts[i].shape().end()}, data);
    }
}

}  // namespace sample
