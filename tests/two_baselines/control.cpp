// What the check must find: a weak function, outside of every baseline's namespace,
// in a file that was compiled for this machine.
namespace qlib {
template <class T> struct careless {
    [[gnu::noinline]] static void twice(T* x) {
        for (int i = 0; i < 64; ++i) x[i] = x[i] + x[i];
    }
};
}  // namespace qlib

int main(int count, char**) {
    float x[64] = {static_cast<float>(count)};
    qlib::careless<float>::twice(x);
    return x[0] == 2 ? 0 : 1;
}
