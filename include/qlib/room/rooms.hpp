#pragma once
// Every room that this compiler can build, and the choice between them, once per call.
#include "portable.hpp"
#include "x86_avx2.hpp"
#include "x86_avx512.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// use(room) for the room of a call that check_room let pass.
template <class Use> auto with_room(isa wanted, const Use& use) noexcept {
    switch (resolve_room(wanted)) {
#define QLIB_USE_ROOM(id, ...) case isa::id: return use(id{});
        QLIB_ROOMS(QLIB_USE_ROOM)
#undef QLIB_USE_ROOM
    default: break;
    }
    return use(portable{});
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
