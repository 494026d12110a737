#pragma once
// Regular expressions for tensor names: of what ECMAScript has, all that needs no going back. A name is read once, and
// what can have matched so far is kept as a set of places in the pattern: time and memory are bounded by the pattern's
// length times the name's, and nothing recurses over a name, as std::regex does until the stack is used up.
// Source: K. Thompson, CACM 11 (6), 1968.
#include <bitset>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

class name_pattern {
public:
    /// error: std::invalid_argument, with the place in the pattern
    explicit name_pattern(std::string_view text) : text_(text) {
        if (text.size() > longest) bad("longer than " + std::to_string(longest) + " bytes");
        const std::size_t whole = alternatives(0);
        if (at_ < text_.size()) bad("a ) without its (");
        emit(whole);
        append({step::match});
        text_ = {};
        nodes_.clear();
    }

    /// Whether a part of the name matches that begins where a word between dots does: "output" finds itself in
    /// "output.weight" and in "blk.0.output.weight", and not in "attn_output.weight".
    [[nodiscard]] bool matches(std::string_view name) const {
        threads now(steps_.size()), then(steps_.size());
        for (std::size_t at = 0;; ++at) {
            const bool starts_word = at == 0 || name[at - 1] == '.' || (at < name.size() && name[at] == '.');
            if (starts_word && follow(now, 0, at, name.size())) return true;
            if (at == name.size()) return false;
            then.clear();
            for (const std::size_t s : now.list)
                if (sets_[steps_[s].a][static_cast<unsigned char>(name[at])] &&
                    follow(then, s + 1, at + 1, name.size()))
                    return true;
            std::swap(now, then);
        }
    }

private:
    static constexpr std::size_t longest = 4096, most_steps = 65536, deepest = 100, most_times = 1000;
    static constexpr std::size_t no_limit = ~std::size_t{0};
    using byte_set = std::bitset<256>;

    // The pattern as it is read: a tree.
    struct node {
        enum kind { bytes, sequence, choice, times, begin, end } what;
        std::vector<std::size_t> parts;          // nodes
        std::size_t set = 0, least = 0, most = 0;  // of bytes; of times
    };
    // And as it is run.
    struct step {
        enum kind { bytes, jump, split, begin, end, match } what;
        std::size_t a = 0, b = 0;  // bytes: the set; jump and split: where to
    };
    /// The steps that wait for the next byte.
    struct threads {
        explicit threads(std::size_t steps) : seen(steps) {}
        void clear() {
            list.clear();
            seen.assign(seen.size(), false);
        }
        std::vector<std::size_t> list;
        std::vector<bool> seen;
    };

    /// Adds step s and all that it leads to without a byte. True when that is the end of the pattern.
    bool follow(threads& t, std::size_t s, std::size_t at, std::size_t end) const {
        std::vector<std::size_t> open{s};
        while (!open.empty()) {
            s = open.back();
            open.pop_back();
            if (t.seen[s]) continue;
            t.seen[s] = true;
            switch (steps_[s].what) {
            case step::match: return true;
            case step::bytes: t.list.push_back(s); break;
            case step::jump: open.push_back(steps_[s].a); break;
            case step::split: open.insert(open.end(), {steps_[s].a, steps_[s].b}); break;
            case step::begin: if (at == 0) open.push_back(s + 1); break;
            case step::end: if (at == end) open.push_back(s + 1); break;
            }
        }
        return false;
    }

    [[noreturn]] void bad(const std::string& rule) const {
        throw std::invalid_argument("not a pattern: " + rule + ", at byte " + std::to_string(at_));
    }
    [[nodiscard]] bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }
    bool take(char c) {
        if (!next_is(c)) return false;
        ++at_;
        return true;
    }
    std::size_t add(node n) {
        nodes_.push_back(std::move(n));
        return nodes_.size() - 1;
    }
    std::size_t add_set(const byte_set& set) {
        sets_.push_back(set);
        return add({node::bytes, {}, sets_.size() - 1, 0, 0});
    }

    std::size_t alternatives(std::size_t depth) {
        if (depth > deepest) bad("more than " + std::to_string(deepest) + " groups in each other");
        node n{node::choice, {sequence(depth)}};
        while (take('|')) n.parts.push_back(sequence(depth));
        return add(std::move(n));
    }
    std::size_t sequence(std::size_t depth) {
        node n{node::sequence, {}};
        while (at_ < text_.size() && text_[at_] != '|' && text_[at_] != ')') n.parts.push_back(repeated(depth));
        return add(std::move(n));
    }
    std::size_t repeated(std::size_t depth) {
        std::size_t n = single(depth);
        for (bool first = true;; first = false) {
            node t{node::times, {n}, 0, 0, no_limit};
            if (take('?')) t.most = 1;
            else if (take('+')) t.least = 1;
            else if (take('{')) counts(t);
            else if (!take('*')) return n;
            if (!first) bad("two repetitions of the same");
            take('?');  // as few as possible: that makes no difference to whether there is a match
            n = add(std::move(t));
        }
    }
    void counts(node& t) {
        t.least = t.most = number();
        if (take(',')) t.most = next_is('}') ? no_limit : number();
        if (!take('}') || t.most < t.least) bad("{least,most} is needed");
    }
    std::size_t number() {
        std::size_t n = 0, digits = 0;
        for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++digits) {
            n = 10 * n + static_cast<std::size_t>(text_[at_] - '0');
            if (n > most_times) bad("more than " + std::to_string(most_times) + " times");
        }
        if (digits == 0) bad("a number is needed");
        return n;
    }
    std::size_t single(std::size_t depth) {
        const char c = text_[at_++];
        switch (c) {
        case '(': return group(depth);
        case '[': return add_set(one_of());
        case '.': return add_set(~byte_set{});
        case '^': return add({node::begin, {}});
        case '$': return add({node::end, {}});
        case '\\': return add_set(escaped());
        case '*': case '+': case '?': case '{': --at_; bad("nothing to repeat");
        default: return add_set(only(c));
        }
    }
    std::size_t group(std::size_t depth) {
        if (take('?') && !take(':')) bad("(? looks ahead or behind, which is not supported");
        const std::size_t n = alternatives(depth + 1);
        if (!take(')')) bad("a ( without its )");
        return n;
    }
    static byte_set only(char c) { return byte_set{}.set(static_cast<unsigned char>(c)); }
    static byte_set range(char first, char last) {
        byte_set set;
        for (unsigned c = static_cast<unsigned char>(first); c <= static_cast<unsigned char>(last); ++c) set.set(c);
        return set;
    }
    byte_set escaped() {
        if (at_ == text_.size()) bad("a backslash at the end");
        const char c = text_[at_++];
        const byte_set digits = range('0', '9'), words = digits | range('a', 'z') | range('A', 'Z') | only('_');
        const byte_set spaces = range('\t', '\r') | only(' ');
        switch (c) {
        case 'd': return digits;
        case 'D': return ~digits;
        case 'w': return words;
        case 'W': return ~words;
        case 's': return spaces;
        case 'S': return ~spaces;
        default: break;
        }
        if (words[static_cast<unsigned char>(c)]) bad(std::string("\\") + c + " is not supported");
        return only(c);
    }
    byte_set one_of() {
        const bool negated = take('^');
        byte_set set;
        while (!take(']')) {
            if (at_ == text_.size()) bad("a [ without its ]");
            const char first = text_[at_++];
            if (first == '\\') {
                set |= escaped();
            } else if (next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
                const char last = text_[++at_];
                if (last == '\\' || static_cast<unsigned char>(last) < static_cast<unsigned char>(first))
                    bad("no range of characters");
                ++at_;
                set |= range(first, last);
            } else {
                set |= only(first);
            }
        }
        return negated ? ~set : set;
    }

    std::size_t append(step s) {
        steps_.push_back(s);
        return steps_.size() - 1;
    }
    void emit(std::size_t index) {
        const node n = nodes_[index];
        if (++emitted_ > most_steps) bad("repetitions that make it too long");
        switch (n.what) {
        case node::bytes: append({step::bytes, n.set}); break;
        case node::begin: append({step::begin}); break;
        case node::end: append({step::end}); break;
        case node::sequence:
            for (const std::size_t part : n.parts) emit(part);
            break;
        case node::choice: emit_choice(n); break;
        case node::times: emit_times(n); break;
        }
    }
    void emit_choice(const node& n) {
        std::vector<std::size_t> jumps;
        for (std::size_t i = 0; i + 1 < n.parts.size(); ++i) {
            const std::size_t split = append({step::split, steps_.size() + 1});
            emit(n.parts[i]);
            jumps.push_back(append({step::jump}));
            steps_[split].b = steps_.size();
        }
        emit(n.parts.back());
        for (const std::size_t j : jumps) steps_[j].a = steps_.size();
    }
    void emit_times(const node& n) {
        for (std::size_t i = 0; i < n.least; ++i) emit(n.parts[0]);
        if (n.most == no_limit) {
            const std::size_t split = append({step::split, steps_.size() + 1});
            emit(n.parts[0]);
            append({step::jump, split});
            steps_[split].b = steps_.size();
            return;
        }
        std::vector<std::size_t> splits;
        for (std::size_t i = n.least; i < n.most; ++i) {
            splits.push_back(append({step::split, steps_.size() + 1}));
            emit(n.parts[0]);
        }
        for (const std::size_t s : splits) steps_[s].b = steps_.size();
    }

    std::string_view text_;  // while it is read
    std::size_t at_ = 0, emitted_ = 0;
    std::vector<node> nodes_;
    std::vector<byte_set> sets_;
    std::vector<step> steps_;
};
