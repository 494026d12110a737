#pragma once
// The one loop behind both kinds of vocabulary: join the two neighbours that rank best, until no pair ranks at all.
#include <cstddef>
#include <limits>
#include <optional>
#include <queue>
#include <string_view>
#include <vector>

/// Cuts `text`, whose smallest parts are given, into tokens' texts.
///
/// rank(left, right)  std::optional<double>: lower is joined earlier, of equal ones the leftmost; nothing: never
template <class Rank> std::vector<std::string_view> merge_pairs(std::vector<std::string_view> parts, const Rank& rank) {
    constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    struct pair {
        double rank;
        std::size_t left, right, bytes;
        bool operator<(const pair& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
    };
    std::vector<std::size_t> before(parts.size()), after(parts.size());
    std::priority_queue<pair> best;
    const auto consider = [&](std::size_t left, std::size_t right) {
        if (left == none || right == none) return;
        if (const std::optional<double> r = rank(parts[left], parts[right]))
            best.push({*r, left, right, parts[left].size() + parts[right].size()});
    };
    for (std::size_t i = 0; i < parts.size(); ++i) {
        before[i] = i != 0 ? i - 1 : none;
        after[i] = i + 1 < parts.size() ? i + 1 : none;
        if (i != 0) consider(i - 1, i);
    }
    while (!best.empty()) {
        const pair p = best.top();
        best.pop();
        std::string_view &left = parts[p.left], &right = parts[p.right];
        if (left.empty() || right.empty() || left.size() + right.size() != p.bytes)
            continue;  // one of them has been joined meanwhile
        left = {left.data(), p.bytes};
        right = {};
        after[p.left] = after[p.right];
        if (after[p.left] != none) before[after[p.left]] = p.left;
        consider(before[p.left], p.left);
        consider(p.left, after[p.left]);
    }
    std::vector<std::string_view> joined;
    for (const std::string_view part : parts)
        if (!part.empty()) joined.push_back(part);
    return joined;
}
