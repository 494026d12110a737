#include "work.hpp"

std::uint64_t work_natively();

int main() {
    const std::uint64_t here = work(), natively = work_natively();
    return here != 0 && here == natively ? 0 : 1;
}
