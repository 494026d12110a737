#pragma once
// Every room that this compiler can build, and the choice between them, once per call.
#include "dispatch.hpp"
#include "generic.hpp"
#include "x86_avx512.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// use(room) for the room of a call that check_room let pass. Room::name<F>(...) are its kernels.
template <class Use> auto with_room(isa wanted, const Use& use) noexcept {
#if defined(__x86_64__)
    if (resolve_room(wanted) == isa::avx512) return use(avx512{});
#endif
    (void)wanted;
    return use(portable{});
}

/// What a call's report says of the way that codes of F take in a room.
template <class Room, class F> inline constexpr const char* path_of = Room::template unpacks<F> || holds_numbers<F> ? "bits" : "load";

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
