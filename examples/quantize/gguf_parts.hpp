#pragma once
// The files of a GGUF model, one or several.
#include "../common/foreign_file.hpp"
#include "model.hpp"

#include <qlib/file/gguf.hpp>
#include <qlib/file/imatrix.hpp>

/// A number of the metadata; of an array, which has one per layer, the first. error: something else than a number
inline std::uint64_t count_of(const qlib::gguf_file& file, const std::string& key, std::uint64_t otherwise) {
    const qlib::gguf_value* v = file.find(key);
    if (v == nullptr) return otherwise;
    const auto first = v->is_array() ? v->at(0) : qlib::result<qlib::gguf_value>(*v);
    const auto n = first ? first->as_uint() : qlib::result<std::uint64_t>(first.error());
    if (!n) fail(n.error(), printable(key));
    return *n;
}

struct gguf_parts {
    std::vector<model_file> files;
    std::vector<qlib::gguf_file> parsed;

    /// `path`: the only file, or the first. error: a part that is missing, or of another model
    explicit gguf_parts(const std::string& path) {
        open(path);
        const std::uint64_t count = count_of(parsed[0], "split.count", 1);
        if (count > 65535)
            throw std::runtime_error(path + ": split.count: " + std::to_string(count) +
                                     " parts, it must be from 1 to 65535");
        for (std::uint64_t part = 1; part < count; ++part) open(part_of(path, part, count));
        if (count > 1) check_parts(count);
    }

private:
    void open(const std::string& path) {
        files.push_back({path, map_file(path)});
        std::string_view culprit;
        auto file = qlib::gguf_file::parse(files.back().memory.bytes(), {}, &culprit);
        if (!file && qlib::imatrix_file::parse(files.back().memory.bytes()))
            throw std::runtime_error(path + ": an importance matrix, not a model: give it with --imatrix");
        if (!file) fail_to_read(file.error(), path, culprit, files.back().memory.bytes(), ".gguf");
        parsed.push_back(std::move(file).value());
    }
    [[nodiscard]] static std::string suffix(std::uint64_t part, std::uint64_t parts) {
        char text[64];
        std::snprintf(text, sizeof text, "-%05llu-of-%05llu.gguf", static_cast<unsigned long long>(part + 1),
                      static_cast<unsigned long long>(parts));
        return text;
    }
    /// The path of another part, from that of the first.
    [[nodiscard]] static std::string part_of(const std::string& path, std::uint64_t part, std::uint64_t parts) {
        const std::string first = suffix(0, parts);
        if (!path.ends_with(first))
            throw std::runtime_error(path + ": the first part of a model in " + std::to_string(parts) +
                                     " parts ends in " + first);
        return path.substr(0, path.size() - first.size()) + suffix(part, parts);
    }
    void check_parts(std::uint64_t parts) const {
        std::uint64_t tensors = 0;
        for (std::size_t i = 0; i < parsed.size(); ++i) {
            const auto value = [&](const char* key) {
                const qlib::gguf_value* v = parsed[i].find(key);
                return v != nullptr && v->as_uint() ? *v->as_uint() : ~std::uint64_t{0};
            };
            if (value("split.no") != i || value("split.count") != parts)
                throw std::runtime_error(files[i].path + ": split.no and split.count do not say that it is part " +
                                         std::to_string(i + 1) + " of " + std::to_string(parts));
            tensors += parsed[i].tensors().size();
        }
        if (const std::uint64_t promised = count_of(parsed[0], "split.tensors.count", tensors); promised != tensors)
            throw std::runtime_error(files[0].path + ": " + std::to_string(promised) +
                                     " tensors are promised, the parts have " + std::to_string(tensors));
    }
};
