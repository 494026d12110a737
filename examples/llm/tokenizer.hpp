#pragma once
// Text to tokens and back, with the vocabulary of a GGUF file: SentencePiece ("llama") and byte-pair encoding ("gpt2").
// A text is text: "</s>" in it is four characters, not the token that ends a sequence.
#include "../common/failure.hpp"
#include "pair_merge.hpp"
#include "words.hpp"

#include <qlib/file/gguf.hpp>

#include <array>
#include <string>
#include <unordered_map>

class tokenizer {
public:
    using token = std::uint32_t;

    /// Reads a vocabulary. `file` must outlive the tokenizer. Throws where the vocabulary
    /// is broken or of a kind that is not known here.
    explicit tokenizer(const qlib::gguf_file& file) {
        const std::string_view kind = text(file, "tokenizer.ggml.model", "");
        if (kind != "llama" && kind != "gpt2")
            throw std::runtime_error("tokenizer.ggml.model: \"" + std::string(kind) + "\"; llama and gpt2 are known");
        pieces_ = kind == "llama";
        check(qlib::check_gguf_model(file), "the vocabulary");  // tables as long as the list of tokens, ids inside it
        read_tokens(file);
        if (pieces_) read_scores(file);
        else read_merges(file);
        const std::string_view pre = text(file, "tokenizer.ggml.pre", "");
        if (!pieces_) {
            words_ = word_cutter::named(pre);
            if (!words_)
                throw std::runtime_error("tokenizer.ggml.pre: \"" + std::string(pre) +
                                         "\"; gpt-2, llama-bpe and qwen2 are known");
        }
        const bool llama3 = !pieces_ && pre.starts_with("llama");
        whole_words_ = llama3;
        begins_ = flag(file, "tokenizer.ggml.add_bos_token", pieces_ || llama3);
        space_in_front_ = flag(file, "tokenizer.ggml.add_space_prefix", true);
        bos_ = id(file, "tokenizer.ggml.bos_token_id", pieces_ ? std::optional<token>(1) : std::nullopt);
        unknown_ = id(file, "tokenizer.ggml.unknown_token_id", pieces_ ? std::optional<token>(0) : std::nullopt);
        for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
            if (const auto end = id(file, key, std::nullopt)) ends_.push_back(*end);
        if (begins_ && (!bos_ || *bos_ >= size()))
            throw std::runtime_error("the vocabulary has no token to begin with");
    }

    [[nodiscard]] std::size_t size() const { return tokens_.size(); }
    /// The token that the model wants in front of a text, if it wants one.
    [[nodiscard]] std::optional<token> bos() const { return begins_ ? bos_ : std::nullopt; }
    [[nodiscard]] bool ends_text(token t) const { return std::find(ends_.begin(), ends_.end(), t) != ends_.end(); }

    /// The tokens of a text, behind bos() if there is one.
    [[nodiscard]] std::vector<token> encode(std::string_view plain) const {
        std::vector<token> out;
        if (const auto first = bos()) out.push_back(*first);
        if (plain.empty()) return out;
        if (pieces_) encode_pieces(plain, out);
        else
            for (const std::string_view word : words_->cut(plain)) encode_word(word, out);
        return out;
    }

    /// The bytes of a token in the midst of a text: often not whole characters. Nothing for control tokens.
    [[nodiscard]] std::string decode(token t) const {
        if (t >= size() || types_[t] == control || types_[t] == unknown) return {};
        if (types_[t] == byte) return std::string(1, byte_of_name(tokens_[t]));
        std::string out;
        for (std::size_t at = 0, bytes = 0; at < tokens_[t].size(); at += bytes) {
            const std::string_view rest = tokens_[t].substr(at);
            bytes = std::min(utf8_bytes(rest[0]), rest.size());
            if (pieces_ && rest.starts_with(space)) out += ' ';
            else if (const auto b = pieces_ ? bytes_.end() : bytes_.find(std::string(rest.substr(0, bytes)));
                     b != bytes_.end())
                out += b->second;
            else out += rest.substr(0, bytes);
        }
        return out;
    }

private:
    static constexpr std::string_view space = "\xE2\x96\x81";  // SentencePiece's, U+2581
    static constexpr std::int32_t unknown = 2, control = 3, byte = 6;

    static std::string_view text(const qlib::gguf_file& file, std::string_view key, std::string_view otherwise) {
        const qlib::gguf_value* v = file.find(key);
        if (v == nullptr) return otherwise;
        const auto s = v->as_string();
        if (!s) fail(s.error(), key);
        return *s;
    }
    static bool flag(const qlib::gguf_file& file, std::string_view key, bool otherwise) {
        const qlib::gguf_value* v = file.find(key);
        if (v == nullptr) return otherwise;
        const auto b = v->as_bool();
        if (!b) fail(b.error(), key);
        return *b;
    }
    static std::optional<token> id(const qlib::gguf_file& file, std::string_view key, std::optional<token> otherwise) {
        const qlib::gguf_value* v = file.find(key);
        if (v == nullptr) return otherwise;
        const auto n = v->as_uint();
        if (!n) fail(n.error(), key);
        return static_cast<token>(*n);
    }

    void read_tokens(const qlib::gguf_file& file) {
        const qlib::gguf_value* list = file.find("tokenizer.ggml.tokens");
        if (list == nullptr || list->count == 0)
            throw std::runtime_error("tokenizer.ggml.tokens: the vocabulary is missing");
        for (const std::string_view t : list->strings()) {
            ids_.insert_or_assign(t, static_cast<token>(tokens_.size()));
            tokens_.push_back(t);
        }
        types_.assign(tokens_.size(), 1);
        if (const qlib::gguf_value* types = file.find("tokenizer.ggml.token_type"))
            for (std::size_t i = 0; i < types_.size(); ++i)
                types_[i] = static_cast<std::int32_t>(types->at(i)->as_int().value());
    }
    void read_scores(const qlib::gguf_file& file) {
        const qlib::gguf_value* scores = file.find("tokenizer.ggml.scores");
        if (scores == nullptr) throw std::runtime_error("tokenizer.ggml.scores: SentencePiece needs them");
        for (std::size_t i = 0; i < size(); ++i) {
            scores_.push_back(scores->at(i)->as_float().value());
            if (types_[i] == byte)
                byte_tokens_[static_cast<unsigned char>(byte_of_name(tokens_[i]))] = static_cast<token>(i);
        }
    }
    void read_merges(const qlib::gguf_file& file) {
        const qlib::gguf_value* merges = file.find("tokenizer.ggml.merges");
        if (merges == nullptr) throw std::runtime_error("tokenizer.ggml.merges: byte-pair encoding needs them");
        for (const std::string_view m : merges->strings()) merges_.emplace(m, static_cast<double>(merges_.size()));
        make_byte_characters();
    }
    /// "<0x0A>".
    static char byte_of_name(std::string_view name) {
        const auto digit = [](char c) {
            return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        };
        if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>' || digit(name[3]) < 0 || digit(name[4]) < 0)
            throw std::runtime_error("a byte token is not named like <0x0A>");
        return static_cast<char>(digit(name[3]) * 16 + digit(name[4]));
    }
    /// GPT-2 writes every byte as a printable character: those that are none come from U+0100 on.
    void make_byte_characters() {
        std::uint32_t next = 0x100;
        for (unsigned b = 0; b < 256; ++b) {
            const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            const std::uint32_t c = printable ? b : next++;
            characters_[b] = c < 0x80
                                 ? std::string(1, static_cast<char>(c))
                                 : std::string{static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
        }
        for (unsigned b = 0; b < 256; ++b) bytes_.emplace(characters_[b], static_cast<char>(b));
    }

    [[nodiscard]] std::optional<token> find(std::string_view piece) const {
        const auto found = ids_.find(piece);
        return found != ids_.end() ? std::optional(found->second) : std::nullopt;
    }
    static std::vector<std::string_view> characters_of(std::string_view all) {
        std::vector<std::string_view> parts;
        for (; !all.empty(); all.remove_prefix(parts.back().size())) parts.push_back(all.substr(0, utf8_bytes(all[0])));
        return parts;
    }

    /// SentencePiece: of all joins of neighbours that are tokens, the one with the highest score goes first. What is no
    /// token is spelt in bytes.
    void encode_pieces(std::string_view plain, std::vector<token>& out) const {
        std::string all(space_in_front_ ? space : "");
        for (const char c : plain) {
            if (c == ' ') all += space;
            else all += c;
        }
        const auto rank = [&](std::string_view left, std::string_view right) -> std::optional<double> {
            const auto joined = find({left.data(), left.size() + right.size()});
            return joined ? std::optional(-scores_[*joined]) : std::nullopt;
        };
        for (const std::string_view piece : merge_pairs(characters_of(all), rank)) {
            if (const auto t = find(piece)) out.push_back(*t);
            else
                for (const char c : piece) out.push_back(token_of_byte(c));
        }
    }
    [[nodiscard]] token token_of_byte(char c) const {
        const auto found = byte_tokens_.find(static_cast<unsigned char>(c));
        return found != byte_tokens_.end() ? found->second : unknown_token();
    }
    [[nodiscard]] token unknown_token() const {
        if (!unknown_ || *unknown_ >= size())
            throw std::runtime_error("the vocabulary has no token for a byte of the text");
        return *unknown_;
    }

    /// Byte-pair encoding: of all joins of neighbours that stand in the list of
    /// merges, the one that stands first goes first.
    void encode_word(std::string_view word, std::vector<token>& out) const {
        std::string all;
        for (const char c : word) all += characters_[static_cast<unsigned char>(c)];
        if (const auto whole = whole_words_ ? find(all) : std::nullopt) return out.push_back(*whole);
        std::string key;
        const auto rank = [&](std::string_view left, std::string_view right) -> std::optional<double> {
            key.assign(left).append(" ").append(right);
            const auto found = merges_.find(key);
            return found != merges_.end() ? std::optional(found->second) : std::nullopt;
        };
        for (const std::string_view piece : merge_pairs(characters_of(all), rank)) {
            if (const auto t = find(piece)) out.push_back(*t);
            else
                for (const std::string_view c : characters_of(piece))
                    out.push_back(find(c) ? *find(c) : unknown_token());
        }
    }

    bool pieces_ = false, begins_ = false, space_in_front_ = true, whole_words_ = false;
    std::vector<std::string_view> tokens_;
    std::vector<std::int32_t> types_;
    std::unordered_map<std::string_view, token> ids_;
    std::optional<token> bos_, unknown_;
    std::vector<token> ends_;
    // SentencePiece
    std::vector<double> scores_;
    std::unordered_map<unsigned char, token> byte_tokens_;
    // Byte-pair encoding
    std::optional<word_cutter> words_;
    std::unordered_map<std::string_view, double> merges_;
    std::array<std::string, 256> characters_;
    std::unordered_map<std::string, char> bytes_;
};
