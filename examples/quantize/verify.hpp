#pragma once
// --verify: whether a quantized model is what its manifest says. Hashes need the
// model alone; with its source it is made again.
#include "quantize_model.hpp"

#include <qlib/formats.hpp>

class verification {
public:
    verification(const options& o, stored_model stored) : o_(o), stored_(std::move(stored)), read_(stored_.path) {
        if (stored_.manifest.empty()) throw std::runtime_error(stored_.path + ": there is no manifest in it");
        manifest_ = parse_json(stored_.manifest);
        if (!manifest_.is_object() || manifest_.value("manifest", json()) != manifest_version)
            throw std::runtime_error(stored_.path + ": its manifest is not one of version " +
                                     std::to_string(manifest_version));
    }

    /// Layers that were left out of the source. error: no numbers
    [[nodiscard]] std::vector<std::uint32_t> pruned_layers() const {
        const json& options = read_.member(manifest_, "options");
        std::vector<std::uint32_t> layers;
        if (!options.is_object() || !options.contains("prune_layers")) return layers;
        for (const json& layer : read_.list(options, "prune_layers")) {
            if (!layer.is_number_unsigned())
                throw std::runtime_error(stored_.path + ": \"prune_layers\" are no numbers in its manifest");
            layers.push_back(layer.get<std::uint32_t>());
        }
        return layers;
    }
    /// The imatrix that was used, if any, with what was left of it.
    [[nodiscard]] std::vector<std::string> weights_of_imatrix(const char* which) const {
        const json& options = read_.member(manifest_, "options");
        return options.is_object() && options.contains(which) ? read_.texts(options, which)
                                                              : std::vector<std::string>();
    }

    /// Against itself.
    void check_hashes() {
        check_file_beside();
        std::uint64_t total = 0;
        for (const auto& [name, bytes] : stored_.pieces) total += bytes.size();
        progress_bar bar("checking hashes", total);
        for (const json& t : read_.list(manifest_, "tensors")) {
            sha256 hash;
            for (const std::string& piece : pieces_of(t)) {
                const auto found = stored_.pieces.find(piece);
                if (found == stored_.pieces.end()) {
                    complain(piece, "it is not in the file");
                    continue;
                }
                hash.add(found->second);
                bar.advance(found->second.size());
                ++pieces_;
            }
            ++tensors_;
            if (hash.hex() != read_.text(t, "sha256"))
                complain(read_.text(t, "name"), "its bytes are not those that were written");
        }
        if (pieces_ < stored_.pieces.size()) complain(stored_.path, "it has tensors that the manifest does not know");
        std::printf("%zu tensors: hashes compared\n", tensors_);
    }

    /// Against the model that it was made from.
    void check_source(const model& source, const imatrix_input* imatrix) {
        check_source_files(source);
        const bool used = manifest_.contains("imatrix");
        if (imatrix != nullptr && (!used || imatrix->sha256() != read_.text(manifest_["imatrix"], "sha256")))
            complain(imatrix->name(), "another imatrix than the one that was used");
        const bool repeatable = !used || imatrix != nullptr;
        progress_bar bar(repeatable ? "quantizing again" : "measuring", source.bytes());
        tensor_encoder encoder(options::fit_named(read_.text(read_.member(manifest_, "options"), "fit")), o_.threads,
                               [&](std::uint64_t n) { bar.advance(n); });
        for (const json& t : read_.list(manifest_, "tensors")) {
            const std::string name = read_.text(t, "name");
            const source_tensor* found = source.find(name, read_.text(t, "method") == "round-to-nearest");
            if (found == nullptr) {
                complain(name, "the source has no such tensor");
                continue;
            }
            planned_tensor p;
            p.source = found;
            if (read_.text(t, "method") != "copy") {
                p.format = format_named(read_.text(t, "format"));
                if (!found->type || (!is_float(*found->type) && t.value("requantized", json()) != true)) {
                    complain(found->title(), "the source has no floats there");
                    continue;
                }
            }
            if (imatrix != nullptr && t.value("importance", json()) == true)
                p.importance = imatrix->importance_of(*found);
            if (repeatable || !p.format) check_repeated(t, source, p, encoder);
            else check_measured(t, p, encoder);
        }
        bar.clear();
        std::printf("%zu tensors: %s\n", tensors_,
                    repeatable ? "quantized again and compared"
                               : "measured again; --imatrix would allow to quantize them again");
    }

    /// Throws where anything was wrong.
    void conclude() const {
        if (complaints_ != 0) throw std::runtime_error(stored_.path + ": not what its manifest says");
        std::printf("%s: as its manifest says\n", stored_.path.c_str());
    }

    [[nodiscard]] std::uint32_t format_named(const std::string& name) const {
        const auto type = find_ggml_type(name);
        const auto id = qlib::format_named(name);
        const std::uint32_t number = type ? static_cast<std::uint32_t>(*type)
                                     : id ? static_cast<std::uint32_t>(*id)
                                          : ~0u;
        if (find_codec(number) == nullptr)
            throw std::runtime_error(stored_.path + ": " + name + " is an unknown format in its manifest");
        return number;
    }

private:
    [[nodiscard]] std::vector<std::string> pieces_of(const json& t) const {
        const std::string name = read_.text(t, "name");
        if (!t.contains("pieces")) return {name};
        std::vector<std::string> pieces = read_.texts(t, "pieces");
        if (pieces.empty())
            throw std::runtime_error(stored_.path + ": tensor " + name + " has no pieces in its manifest");
        return pieces;
    }
    void complain(const std::string& what, const std::string& rule) {
        note(what, rule);
        ++complaints_;
    }
    static void note(const std::string& what, const std::string& fact) {
        std::printf("%s: %s\n", printable(what).c_str(), printable(fact).c_str());
    }
    void check_file_beside() {
        const std::string path = manifest_path(stored_.path);
        std::ifstream in(path);
        if (!in) return note(path, "there is no manifest beside the model: what the one in it says is compared");
        json beside = parse_json(std::string(std::istreambuf_iterator<char>(in), {}));
        const json file = beside.is_object() ? beside.value("file", json()) : json();
        if (beside.is_object()) beside.erase("file");
        if (beside != manifest_) return complain(path, "it differs from the manifest in the model");
        const json bytes = file.is_object() ? file.value("header_bytes", json()) : json();
        const std::uint64_t size = bytes.is_number_unsigned() ? bytes.get<std::uint64_t>() : ~std::uint64_t{0};
        if (size > stored_.head.size() || sha256_of(stored_.head.first(size)) != file.value("header_sha256", json()))
            complain(stored_.path, "its header is not the one that was written");
    }
    void check_source_files(const model& source) {
        const std::vector<std::string> hashes = hash_files(source.files());
        const json& known = read_.list(manifest_, "source");
        if (known.size() != hashes.size())
            return complain(o_.source, "another number of files than the model was made from");
        for (std::size_t i = 0; i < hashes.size(); ++i)
            if (read_.text(known[i], "sha256") != hashes[i])
                complain(source.files()[i].path, "not the file that the model was made from");
    }
    void check_repeated(const json& t, const model& source, const planned_tensor& p, tensor_encoder& encoder) {
        sha256 hash;
        std::vector<std::byte> whole;
        const bool in_pieces = pieces_of(t).size() > 1;
        const outcome done = encoder.encode(p, [&](std::span<const std::byte> bytes) {
            if (in_pieces) whole.insert(whole.end(), bytes.begin(), bytes.end());
            else hash.add(bytes);
        });
        if (in_pieces)
            for (const auto& piece : source.cut(p, std::move(whole))) hash.add(piece);
        if (hash.hex() != read_.text(t, "sha256")) complain(p.source->title(), "quantized again it has other bytes");
        if (p.format) check_score(t, done);
    }
    void check_measured(const json& t, const planned_tensor& p, tensor_encoder& encoder) {
        const auto piece = stored_.pieces.find(pieces_of(t)[0]);
        if (pieces_of(t).size() > 1 || piece == stored_.pieces.end())
            return;  // nothing to look at, or complained about before
        if (piece->second.size() != find_codec(*p.format)->bytes(p.source->rows(), p.source->cols()))
            return complain(read_.text(t, "name"), "its size is not that of the source's tensor");
        check_score(t, encoder.compare(p, piece->second));
    }
    void check_score(const json& t, const outcome& done) {
        const json& told = read_.member(t, "sqnr");
        if (score_of(done.sums) != told)
            complain(read_.text(t, "name"),
                     "its SQNR is " + score_of(done.sums).dump() + " dB, not " + with_utf8(told).dump());
    }

    const options& o_;
    stored_model stored_;
    json_reader read_;
    json manifest_;
    std::size_t tensors_ = 0, pieces_ = 0, complaints_ = 0;
};
