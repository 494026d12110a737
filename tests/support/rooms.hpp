#pragma once
// The rooms that this machine can run, all of which are tested. And one that no machine has.
#include <qlib/room/isa.hpp>

#include <vector>

namespace sample {

inline std::vector<qlib::isa> rooms() {
    std::vector<qlib::isa> here;
    for (const qlib::isa room : qlib::built_rooms)
        if (qlib::has_room(room)) here.push_back(room);
    return here;
}
inline constexpr qlib::isa no_room{7};

}  // namespace sample
