#pragma once
// call: how a long function is to be run. The last parameter of each.
#include "executor.hpp"

#include <cstdint>

namespace qlib::inline v0 {

/// A room: the code for one instruction set.
enum class isa : std::uint8_t {
    best,      ///< the best that this machine has
    portable,  ///< plain C++
    avx512,    ///< x86-64 with AVX-512 F, BW, DQ, VL and VNNI
};

/// Which code served a call.
struct call_report {
    isa room = isa::best;    ///< never `best` after a call
    const char* mode = "";   ///< "integer" or "exact" for qgemm, the fit's name for an encoder
    const char* path = "";   ///< "bits": codes unpacked by the room; "load": one by one through the format's own load, slower
};

struct call {
    executor_ref run = serial;
    isa room = isa::best;           ///< a lesser room than the machine's best, for tests; errc::unsupported when the machine lacks it
    call_report* report = nullptr;  ///< filled in when given
};

}  // namespace qlib::inline v0
