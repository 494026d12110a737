#pragma once
// A model on its way from one file to another, whatever kind of file: its tensors,
// what is to become of each, and where that goes.
#include "../common/failure.hpp"
#include "../common/files.hpp"
#include "../common/sha256.hpp"
#include "fp8_weights.hpp"
#include "sqnr.hpp"
#include "tensor_types.hpp"

#include <map>

/// One of the files that a model is read from.
struct model_file {
    std::string path;
    qlib::mapped_file memory;
};

/// A matrix that lies in its file as inputs x outputs: row r is column first + r of what is stored.
struct stored_transposed {
    std::uint64_t cols = 0, first = 0;
};

/// One tensor of the model that is read, or a linear layer's part of one.
struct source_tensor : tensor_shape {
    std::vector<std::uint64_t> dims;  ///< as many as it has, in the file's own order
    std::optional<ggml> type;         ///< none: a type that ggml does not have
    std::optional<fp8_weights> fp8;   ///< the data are codes, and `type` is what they are decoded to
    std::optional<stored_transposed> transposed;
    std::string type_name;
    std::span<const std::byte> data;
    const qlib::mapped_file* file = nullptr;
    std::size_t part = 0;     ///< which of the model's files it is in
    std::string source_name;  ///< in the source, where the output has another: layers in front of it were left out

    /// As the source and what belongs to it name the tensor.
    [[nodiscard]] const std::string& original_name() const { return source_name.empty() ? name : source_name; }
    /// As errors name it: "blk.0.ffn_up.weight (768 x 288)", rows first.
    [[nodiscard]] std::string title() const { return printable(original_name()) + " (" + shape_text() + ")"; }
    [[nodiscard]] std::string shape_text() const {
        std::string text;
        for (const std::uint64_t n : {ne[3], ne[2]})
            if (n != 1) text += std::to_string(n) + " x ";
        return rows() != 1 || dims.size() > 1 ? text + std::to_string(ne[1]) + " x " + std::to_string(ne[0])
                                              : std::to_string(ne[0]);
    }
};

/// Why a matrix stays as it is; empty: it does not, or there is nothing to say.
struct left_alone {
    std::string why;
    bool for_loaders = false;  ///< they might take it for a layer that is quantized: it has to be named
    bool is_stack = false;     ///< they look for several layers in its place
    bool is_loss = false;      ///< it is a linear layer, and one would have it quantized
};

/// What is to become of one tensor. Formats are numbers as in codecs.hpp.
struct planned_tensor {
    const source_tensor* source = nullptr;
    std::optional<std::uint32_t> format;  ///< none: copied
    std::string format_name;
    std::string wanted_name;  ///< what was asked for; the same unless rows do not fill its blocks
    double wanted_bytes = 0;
    reason why = reason::kept;
    std::string rule;                   ///< of the command line, that speaks of it; empty: none
    bool overruled = false;             ///< the rule was not followed, as loaders need the tensor as it is
    std::span<const float> importance;  ///< of the columns, for one matrix after the other; empty: not known
    std::uint64_t bytes = 0;            ///< of the output
    left_alone left;
};

/// A tensor of the output, or one of several that a tensor becomes.
struct output_piece {
    std::string name;
    std::uint64_t at = 0, bytes = 0;  ///< in the file
    std::size_t file = 0;             ///< of the output's files
};

/// One of the output's files.
struct output_file {
    std::vector<std::byte> header;
    std::uint64_t size = 0;
};

/// Where everything goes.
struct output_layout {
    std::vector<output_file> files;                 ///< the first is the one that describes them all
    std::vector<std::vector<output_piece>> pieces;  ///< of each planned tensor

    /// One more file: the header of a writer to which all has been announced.
    template <class Writer> output_file& begin(Writer& out) {
        output_file& file = files.emplace_back();
        const auto sink = [&](std::span<const std::byte> bytes) {
            file.header.insert(file.header.end(), bytes.begin(), bytes.end());
            return true;
        };
        check(out.begin(sink), "header");
        file.size = out.file_size();
        return file;
    }
    [[nodiscard]] std::uint64_t bytes() const {
        std::uint64_t sum = 0;
        for (const output_file& f : files) sum += f.size;
        return sum;
    }
};

/// What became of one tensor.
struct outcome {
    qlib::sqnr sums, weighted;
    std::string sha256;  ///< of its pieces' bytes, one behind the other
};

/// A quantized model as it was written: the manifest in it, and the bytes of its tensors by name.
struct stored_model {
    std::string path;
    std::vector<qlib::mapped_file> files;  ///< what the spans point into
    std::span<const std::byte> head;       ///< the file from its start; as long as the header at least
    std::string manifest;
    std::map<std::string, std::span<const std::byte>, std::less<>> pieces;
};

/// A model in files of one kind.
class model {
public:
    virtual ~model() = default;
    [[nodiscard]] const std::vector<model_file>& files() const { return files_; }
    [[nodiscard]] const std::vector<source_tensor>& tensors() const {
        return tensors_;
    }  ///< in the order of the output
    /// The matrices that a tensor is to its loaders once it is quantized, where it is not simply one itself: experts
    /// one by one, or transposed. Empty: it is.
    [[nodiscard]] virtual std::span<const source_tensor> linear_parts(const source_tensor&) const { return {}; }
    /// A tensor, or where it is to be quantized one of the parts. Null: there is none.
    [[nodiscard]] virtual const source_tensor* find(std::string_view name, [[maybe_unused]] bool quantized) const {
        const auto found = std::ranges::find_if(tensors_, [&](const auto& t) { return utf8_text(t.name) == name; });
        return found != tensors_.end() ? &*found : nullptr;
    }
    [[nodiscard]] std::uint64_t bytes() const {
        std::uint64_t sum = 0;
        for (const source_tensor& t : tensors_) sum += t.data.size();
        return sum;
    }

    /// The header of the output, with a text that describes how it was made, and the
    /// places of all data. An empty text: it is a copy.
    [[nodiscard]] virtual output_layout lay_out(const std::vector<planned_tensor>& plan,
                                                const std::string& manifest) const = 0;
    /// A quantized matrix as the file's pieces.
    [[nodiscard]] virtual std::vector<std::vector<std::byte>> cut(const planned_tensor&,
                                                                  std::vector<std::byte> bytes) const {
        std::vector<std::vector<std::byte>> pieces;
        pieces.push_back(std::move(bytes));
        return pieces;
    }

protected:
    std::vector<model_file> files_;
    std::vector<source_tensor> tensors_;
};
