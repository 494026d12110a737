#include <qlib/qlib.hpp>

float rounded_natively(float x);

int main() { return rounded_natively(1.2f) == qlib::f16::from(1.2f).value() ? 0 : 1; }
