#pragma once
// Names of a file in sorted order: finds duplicates in O(n log n) and a name in O(log n). A hash table would need a
// secret seed, as names come from strangers who can choose colliding ones; a heap sort has no bad case.
#include "../core/memory.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Negative, zero or positive as a stands before, with or behind b: bytes as unsigned numbers, a prefix first.
[[nodiscard]] inline int compare_names(std::string_view a, std::string_view b) noexcept {
    const std::size_t common = a.size() < b.size() ? a.size() : b.size();
    const int order = common != 0 ? std::memcmp(a.data(), b.data(), common) : 0;
    if (order != 0) return order;
    return a.size() < b.size() ? -1 : static_cast<int>(a.size() > b.size());
}

/// Moves heap[root] down until no child stands behind it.
template <class Before>
void sift_down(std::size_t* heap, std::size_t root, std::size_t count, const Before& before) noexcept {
    while (root < count / 2) {
        std::size_t child = 2 * root + 1;
        if (child + 1 < count && before(heap[child], heap[child + 1])) ++child;
        if (!before(heap[root], heap[child])) return;
        (std::swap)(heap[root], heap[child]);
        root = child;
    }
}

/// Sorts the indices 0 .. order.size()-1, in memory that is there; before(a, b) is a strict order of all of them.
template <class Before> void sort_indices(buffer<std::size_t>& order, const Before& before) noexcept {
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t i = order.size() / 2; i-- > 0;) sift_down(order.data(), i, order.size(), before);
    for (std::size_t end = order.size(); end-- > 1;) {
        (std::swap)(order[0], order[end]);
        sift_down(order.data(), 0, end, before);
    }
}

/// Sorts the indices 0 .. count-1 by name_of(index), equal names by index. False without memory.
template <class NameOf>
[[nodiscard]] bool sort_names(buffer<std::size_t>& order, std::size_t count, const NameOf& name_of) noexcept {
    if (!order.allocate(count)) return false;
    sort_indices(order, [&](std::size_t a, std::size_t b) {
        const int c = compare_names(name_of(a), name_of(b));
        return c < 0 || (c == 0 && a < b);
    });
    return true;
}

/// The first position p of a sorted order whose name equals that of p + 1, the later
/// index of the two; order.size() when all differ.
template <class NameOf>
[[nodiscard]] std::size_t find_duplicate(const buffer<std::size_t>& order, const NameOf& name_of) noexcept {
    for (std::size_t p = 0; p + 1 < order.size(); ++p)
        if (name_of(order[p]) == name_of(order[p + 1])) return p;
    return order.size();
}

/// The first index of a name in a sorted order; order.size() when it is not there.
template <class NameOf>
[[nodiscard]] std::size_t find_name(const buffer<std::size_t>& order, std::string_view name,
                                    const NameOf& name_of) noexcept {
    std::size_t low = 0, high = order.size();
    while (low < high) {
        const std::size_t middle = low + (high - low) / 2;
        if (compare_names(name_of(order[middle]), name) < 0) low = middle + 1;
        else high = middle;
    }
    return low < order.size() && name_of(order[low]) == name ? order[low] : order.size();
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
